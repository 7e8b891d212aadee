//! Texts with fields, such as `jobs-{label:cluster}`: where the records of a file go.
//!
//! In: a text, and for each file what its fields are. Out: a topic, a subject or a key.
//! Always holds: what a field contributes has only characters that the receiver allows there;
//! others become `_`.

/// Which characters the value of a field may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// All bytes: the key of a record.
    Any,
    /// ASCII letters, digits, `_` and `-`: one part of the name of a topic, or one token of a
    /// subject. A dot would begin another one.
    Name,
}

/// A text with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    alphabet: Alphabet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Host,
    Path,
    File,
    Job,
    Label(String),
}

/// What the fields of a template are for one file.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The host's name.
    pub host: &'a [u8],
    /// PATH as given, joined with the path below it.
    pub path: &'a [u8],
    /// Device, inode and generation, as in the `file` of json records.
    pub file: &'a [u8],
    /// The number of the job whose log the file is; empty if that is not known.
    pub job: &'a [u8],
    /// The labels of the file's input.
    pub labels: &'a [(String, String)],
}

/// A text that is not a template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// `{` without `}`, or the other way round.
    #[error("a {{ without }}, or the other way round")]
    Unbalanced,
    /// An unknown field.
    #[error(
        "{{{field}}} is not a field: {{host}}, {{label:NAME}}, {{job}}, {{path}} and {{file}} are"
    )]
    Field {
        /// What is between the braces.
        field: String,
    },
    /// A character that the receiver does not allow.
    #[error("may have ASCII letters, digits, `.`, `_` and `-`, and fields; {character:?} is none")]
    Character {
        /// Which one.
        character: char,
    },
}

impl Template {
    /// Reads a template. For [`Alphabet::Name`], its own text may also have dots.
    ///
    /// # Errors
    /// When the text is empty, or has an unknown field or a forbidden character.
    pub fn parse(text: &str, alphabet: Alphabet) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            let (plain, after) = rest.split_at(end);
            let is_forbidden = |&character: &char| {
                alphabet == Alphabet::Name && character != '.' && !is_in_name(character)
            };
            if let Some(character) = plain.chars().find(is_forbidden) {
                return Err(TemplateError::Character { character });
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            if after.is_empty() {
                break;
            }
            let (field, behind) = after
                .strip_prefix('{')
                .and_then(|field| field.split_once('}'))
                .ok_or(TemplateError::Unbalanced)?;
            parts.push(match field {
                "host" => Part::Host,
                "path" => Part::Path,
                "file" => Part::File,
                "job" => Part::Job,
                _ => match field.strip_prefix("label:").filter(|name| !name.is_empty()) {
                    Some(name) => Part::Label(name.to_owned()),
                    None => return Err(TemplateError::Field { field: field.to_owned() }),
                },
            });
            rest = behind;
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Template { text: text.to_owned(), parts, alphabet })
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether all files have the same text.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_) | Part::Host))
    }

    /// Whether each file may have a text of its own.
    #[must_use]
    pub fn is_per_file(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Path | Part::File | Part::Job))
    }

    /// The shortest text that it can become in a name: each field is at least one character.
    #[must_use]
    pub fn shortest(&self) -> String {
        let parts = self.parts.iter();
        parts.map(|part| if let Part::Text(text) = part { text } else { "_" }).collect()
    }

    /// Whether it has the number of a job.
    #[must_use]
    pub fn has_job(&self) -> bool {
        self.parts.contains(&Part::Job)
    }

    /// Its labels.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Label(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text in front of the first field that differs between files: all texts begin so.
    #[must_use]
    pub fn prefix(&self, host: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Host => self.push(host, &mut out),
                Part::Path | Part::File | Part::Job | Part::Label(_) => break,
            }
        }
        out
    }

    /// Appends the text for one file. A label that its input does not have is `_`, or nothing in a
    /// key; a job that is not known is the file.
    pub fn expand(&self, fields: &Fields<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Host => self.push(fields.host, out),
                Part::Path => self.push(fields.path, out),
                Part::Job if !fields.job.is_empty() => self.push(fields.job, out),
                Part::File | Part::Job => self.push(fields.file, out),
                Part::Label(name) => {
                    let label = fields.labels.iter().find(|(known, _)| known == name);
                    self.push(label.map_or(&b""[..], |(_, value)| value.as_bytes()), out);
                }
            }
        }
    }

    fn push(&self, value: &[u8], out: &mut Vec<u8>) {
        match self.alphabet {
            Alphabet::Any => out.extend_from_slice(value),
            Alphabet::Name if value.is_empty() => out.push(b'_'),
            Alphabet::Name => out.extend(
                value.iter().map(|&byte| if is_in_name(char::from(byte)) { byte } else { b'_' }),
            ),
        }
    }
}

fn is_in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, alphabet: Alphabet) -> String {
        expanded_for(text, alphabet, b"")
    }

    fn expanded_for(text: &str, alphabet: Alphabet, job: &[u8]) -> String {
        let labels = [("cluster".to_owned(), "bio.1".to_owned())];
        let fields = Fields {
            host: b"node7.site",
            path: b"/jobs/a.log",
            file: b"1-2-0",
            job,
            labels: &labels,
        };
        let mut out = Vec::new();
        Template::parse(text, alphabet).unwrap().expand(&fields, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_become_what_the_receiver_allows() {
        let name = |text| expanded(text, Alphabet::Name);
        assert_eq!(name("jobs"), "jobs");
        assert_eq!(name("jobs.{host}.{label:cluster}"), "jobs.node7_site.bio_1");
        assert_eq!(name("jobs-{label:none}{file}"), "jobs-_1-2-0");
        assert_eq!(expanded("{path}", Alphabet::Any), "/jobs/a.log");
        assert_eq!(
            expanded_for("jobs.{host}.{job}", Alphabet::Name, b"47.pbs"),
            "jobs.node7_site.47_pbs"
        );
        assert_eq!(expanded_for("{job}", Alphabet::Any, b"47.pbs"), "47.pbs");
        assert_eq!(expanded("{job}", Alphabet::Any), "1-2-0", "without a job, the file");
        assert_eq!(expanded("{label:cluster}{label:none}", Alphabet::Any), "bio.1");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let error = |text| Template::parse(text, Alphabet::Name).unwrap_err();
        assert_eq!(error(""), TemplateError::Empty);
        assert_eq!(error("a{host"), TemplateError::Unbalanced);
        assert_eq!(error("a}b"), TemplateError::Unbalanced);
        assert_eq!(error("{task}"), TemplateError::Field { field: "task".to_owned() });
        assert_eq!(error("{label:}"), TemplateError::Field { field: "label:".to_owned() });
        assert_eq!(error("jobs/{host}"), TemplateError::Character { character: '/' });
        assert_eq!(error("jobs.>"), TemplateError::Character { character: '>' });
    }

    #[test]
    fn what_all_files_share_is_known() {
        let template = |text| Template::parse(text, Alphabet::Name).unwrap();
        assert!(template("jobs.{host}").is_fixed() && !template("jobs.{file}").is_fixed());
        assert_eq!(template("jobs.{host}.{file}.x").prefix(b"a.b"), b"jobs.a_b.");
        assert!(template("j{path}").is_per_file() && !template("j{label:a}").is_per_file());
        assert!(template("{job}").is_per_file() && template("{job}").has_job());
        assert_eq!(template("j.{label:a}.{file}").shortest(), "j._._");
        assert_eq!(template("j{label:a}{label:b}").labels().collect::<Vec<_>>(), ["a", "b"]);
    }
}
