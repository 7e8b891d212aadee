//! Whether a stream can keep the promise, and what to do if not.
//!
//! In: the configuration of a stream as the server tells it. Out: its limits, or a sentence with a
//! command that helps.
//! Always holds: a stream passes only if it stores batches as a whole, keeps what was consumed,
//! acknowledges, and stores all our subjects under their own names.

use serde_json::{Value, json};

/// What matters of a stream that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) name: String,
    /// Bytes of a message with its headers, if the stream has a limit.
    pub(super) message_bytes_max: Option<usize>,
}

/// Checks the member `config` of `$JS.API.STREAM.INFO`.
pub(super) fn check(config: &Value, filter: &str) -> Result<Stream, String> {
    let name = config["name"].as_str().unwrap_or_default();
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let is_set = |key: &str| config[key].as_bool().unwrap_or(false);
    if config["mirror"].is_object() {
        return Err(format!("the stream {name} is a mirror: nothing can be written to it"));
    }
    if is_set("sealed") {
        return Err(format!("the stream {name} is sealed: nothing can be written to it"));
    }
    let mut subjects =
        config["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if !subjects.any(|subject| covers(subject, filter)) {
        let ours = subjects_for(filter);
        return Err(format!(
            "the stream {name} does not store {filter}: nats stream edit {name} --subjects '{ours}'"
        ));
    }
    if config["subject_transform"].is_object() {
        return Err(format!(
            "the stream {name} stores messages under other subjects, so they could not be found \
            again: nats stream edit {name} --no-transform"
        ));
    }
    if text("retention") != "limits" {
        return Err(format!(
            "the stream {name} drops what was consumed (retention = {}), so it could not be found \
            again: use a stream with retention = limits",
            text("retention")
        ));
    }
    if is_set("no_ack") {
        return Err(format!(
            "the stream {name} acknowledges nothing: nats stream edit {name} --ack"
        ));
    }
    if text("persist_mode") == "async" {
        return Err(format!(
            "the stream {name} acknowledges what it did not write yet (persist_mode = async): use \
            another one"
        ));
    }
    if !is_set("allow_atomic") {
        return Err(format!(
            "the stream {name} takes no atomic batches: nats stream edit {name} --allow-batch"
        ));
    }
    let limit = config["max_msg_size"].as_i64().filter(|&bytes| bytes > 0);
    let message_bytes_max = limit.and_then(|bytes| usize::try_from(bytes).ok());
    Ok(Stream { name: name.to_owned(), message_bytes_max })
}

/// Whether all subjects of `filter` match `pattern`.
fn covers(pattern: &str, filter: &str) -> bool {
    let (mut pattern, mut filter) = (pattern.split('.'), filter.split('.'));
    loop {
        match (pattern.next(), filter.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(part)) if part != ">" => {}
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return false,
        }
    }
}

/// Whether these permissions of a user allow to publish all subjects of `filter`.
pub(super) fn may_publish(permissions: &Value, filter: &str) -> bool {
    let patterns = |key: &str| permissions["publish"][key].as_array().cloned().unwrap_or_default();
    let has_one = |patterns: &[Value]| {
        patterns.iter().filter_map(Value::as_str).any(|pattern| covers(pattern, filter))
    };
    let allowed = patterns("allow");
    (allowed.is_empty() || has_one(&allowed)) && !has_one(&patterns("deny"))
}

/// The subjects of a stream for manytails on many hosts: `jobs.>` for `jobs.node7.>`.
fn subjects_for(filter: &str) -> String {
    match filter.split_once('.') {
        Some((first, _)) => format!("{first}.>"),
        None => filter.to_owned(),
    }
}

/// The name of a stream that is made, if the settings have none: `JOBS` for `jobs.node7.>`.
pub(super) fn name_for(filter: &str) -> String {
    filter.split('.').next().unwrap_or(filter).to_ascii_uppercase()
}

/// The configuration of a stream that is made.
pub(super) fn new_stream(name: &str, filter: &str, replicas: u32) -> Value {
    json!({
        "name": name,
        "subjects": [subjects_for(filter)],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "old",
        "allow_atomic": true,
        "allow_direct": true,
    })
}

/// How to make such a stream.
pub(super) fn how_to_make(name: &str, filter: &str, replicas: u32) -> String {
    let subjects = subjects_for(filter);
    format!(
        "nats stream add {name} --subjects '{subjects}' --storage file --replicas {replicas} \
        --allow-batch --defaults; or set `create = true` in [nats]"
    )
}

/// Whether a server of this version does not know atomic batches (API level 2).
pub(super) fn is_too_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) < (2, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut config = new_stream("JOBS", "jobs.n7.>", 3);
        change(&mut config);
        check(&config, "jobs.n7.>").unwrap_err()
    }

    #[test]
    fn a_stream_that_we_make_passes() {
        let stream = check(&new_stream("JOBS", "jobs.n7.>", 3), "jobs.n7.>").unwrap();
        assert_eq!(stream, Stream { name: "JOBS".to_owned(), message_bytes_max: None });
        let mut config = new_stream("JOBS", "jobs", 1);
        config["max_msg_size"] = json!(4096);
        assert_eq!(check(&config, "jobs").unwrap().message_bytes_max, Some(4096));
        config["max_msg_size"] = json!(-1);
        assert_eq!(check(&config, "jobs").unwrap().message_bytes_max, None);
    }

    #[test]
    fn a_stream_that_cannot_keep_the_promise_is_refused_with_a_way_out() {
        let atomic = refused(|config| config["allow_atomic"] = json!(false));
        assert!(atomic.ends_with("nats stream edit JOBS --allow-batch"), "{atomic}");
        let lacks_it = refused(|config| {
            config.as_object_mut().unwrap().remove("allow_atomic");
        });
        assert_eq!(lacks_it, atomic);
        for (key, value, about) in [
            ("retention", json!("workqueue"), "retention = workqueue"),
            ("persist_mode", json!("async"), "persist_mode"),
            ("no_ack", json!(true), "--ack"),
            ("sealed", json!(true), "sealed"),
            ("mirror", json!({"name": "X"}), "mirror"),
            ("subject_transform", json!({"src": ">", "dest": "x.>"}), "--no-transform"),
            ("subjects", json!(["jobs.*"]), "does not store jobs.n7.>"),
            ("subjects", json!(["other.>", "jobs.n8.>"]), "--subjects 'jobs.>'"),
        ] {
            let why = refused(|config| config[key] = value);
            assert!(why.contains(about), "{key}: {why}");
        }
    }

    #[test]
    fn a_pattern_covers_a_filter_if_each_of_its_subjects_matches() {
        for (pattern, filter, expected) in [
            (">", "jobs.n7.>", true),
            ("jobs.>", "jobs.n7.>", true),
            ("jobs.>", "jobs.n7", true),
            ("jobs.*.>", "jobs.n7.>", true),
            ("jobs.*", "jobs.n7", true),
            ("jobs.n7", "jobs.n7", true),
            ("jobs.*", "jobs.n7.>", false),
            ("jobs.*", "jobs.>", false),
            ("jobs.n7.*", "jobs.n7.>", false),
            ("jobs.>", "jobs", false),
            ("jobs.n8.>", "jobs.n7.>", false),
            ("jobs.n7.>", "jobs.n7", false),
        ] {
            assert_eq!(covers(pattern, filter), expected, "{pattern} {filter}");
        }
    }

    #[test]
    fn what_may_be_published_is_what_is_allowed_and_not_denied() {
        for (permissions, expected) in [
            (json!(null), true),
            (json!({"publish": {"deny": ["other.>"]}}), true),
            (json!({"publish": {"deny": ["jobs.>"]}}), false),
            (json!({"publish": {"allow": ["$JS.API.>", "jobs.*.>"]}}), true),
            (json!({"publish": {"allow": ["$JS.API.>"]}}), false),
            (json!({"publish": {"allow": [">"], "deny": ["jobs.n7.>"]}}), false),
        ] {
            assert_eq!(may_publish(&permissions, "jobs.n7.>"), expected, "{permissions}");
        }
    }

    #[test]
    fn old_servers_are_known_by_their_version() {
        for (version, expected) in [
            ("2.9.10", true),
            ("2.11.8", true),
            ("v1.4.1", true),
            ("2.12.0", false),
            ("2.15.0-dev", false),
            ("3.0.0", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(is_too_old(version), expected, "{version}");
        }
    }
}
