//! `${NAME}` in the values of settings files: the value of an environment variable.
//!
//! In: a value as written, the variables of the process. Out: the value with its references
//! replaced.
//! Always holds: a variable that is not set is refused, unless a default is given: an unset one
//! must not become an empty path.

use std::ffi::{OsStr, OsString};

use crate::sys::host;

/// Not set in the environment of a service, and wanted most.
const HOSTNAME: &str = "HOSTNAME";

/// The variables of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variables<'a>(pub(crate) &'a [(OsString, OsString)]);

impl Variables<'_> {
    /// Replaces `${NAME}`, and `${NAME:-DEFAULT}` if NAME is not set or empty. `$${` stands for
    /// `${`; any other `$` for itself.
    ///
    /// # Errors
    /// Why a reference cannot be replaced.
    pub(crate) fn expand(self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = &reference[2..];
                continue;
            }
            out.push_str(before);
            let end = reference.find('}').ok_or_else(|| {
                format!("`{reference}`: the closing brace is missing (write $${{ for ${{)")
            })?;
            out.push_str(&self.value(&reference[2..end])?);
            rest = &reference[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of a variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.0.iter().find(|(known, _)| known == OsStr::new(name))?;
        Some(value.as_os_str()).filter(|value| !value.is_empty())
    }

    fn value(self, reference: &str) -> Result<String, String> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(format!(
                "${{{reference}}}: {name:?} is no name of a variable (write $${{ for ${{)"
            ));
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("${{{reference}}}...: a default has no reference in it"));
        }
        match (self.get(name), default) {
            (Some(value), _) => value
                .to_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("${{{reference}}}: the value of the variable is not UTF-8")),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) if name == HOSTNAME => {
                host::name().map_err(|error| format!("${{{reference}}}: {error}"))
            }
            (None, None) => Err(format!(
                "${{{reference}}}: the environment variable is not set, or empty \
                (${{{name}:-DEFAULT}} has a default)"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let variables =
            [("CLUSTER", "east"), ("EMPTY", "")].map(|(name, value)| (name.into(), value.into()));
        Variables(&variables).expand(text)
    }

    #[test]
    fn references_are_replaced_and_other_dollars_stay() {
        let cases = [
            ("plain $ and $5 {a}", "plain $ and $5 {a}"),
            ("/srv/${CLUSTER}/jobs-${CLUSTER}", "/srv/east/jobs-east"),
            ("${MISSING:-west}/${EMPTY:-}x", "west/x"),
            ("$${CLUSTER} $$ ${CLUSTER}", "${CLUSTER} $$ east"),
        ];
        for (text, wanted) in cases {
            assert_eq!(expand(text).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(expand("${HOSTNAME}"), Ok(host::name().expect("it has a name")));
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        for (text, why) in [
            ("${MISSING}", "not set"),
            ("a${EMPTY}", "or empty"),
            ("${", "brace"),
            ("${a b}", "no name"),
            ("${}", "no name"),
            ("${A:-${B}}", "no reference"),
        ] {
            assert!(expand(text).unwrap_err().contains(why), "{text}: {:?}", expand(text));
        }
    }
}
