//! What went wrong at the brokers, as a sentence for people.
//!
//! In: an error code of the client library, and what the library says about it. Out: what happened,
//! where, and what to do about it.
//! Always holds: a sentence has no secret in it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What has to follow from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No broker can be reached. The library goes on trying.
    Unreachable,
    /// The brokers do not accept our name, secret or certificate, or we do not accept theirs. The
    /// files with them are read again by the next client.
    Access,
    /// What was sent and is not acknowledged may be lost: it is sent again by the next client.
    Delivery,
}

/// Something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// The library's code.
    pub(super) code: Code,
    /// The sentence.
    pub(super) why: String,
}

/// What sentences name.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// The brokers that the settings name.
    pub(super) brokers: String,
    /// Who we are there.
    pub(super) user: String,
    /// The transactional id, which is the group, too; empty without transactions.
    pub(super) identity: String,
    /// The topic with the number of the commit; empty without transactions.
    pub(super) offsets_topic: String,
    /// The topic of all records, if there is only one.
    pub(super) topic: Option<String>,
}

impl Failure {
    /// The failure that has this code. `topic`: of the record, if it is about one. `said`: by the
    /// library.
    pub(super) fn new(code: Code, topic: Option<&str>, said: &str, names: &Names) -> Self {
        let kind = match code {
            Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Kind::Access,
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress => Kind::Unreachable,
            _ => Kind::Delivery,
        };
        Failure { kind, code, why: sentence(code, topic, said, names) }
    }

    /// The failure of a call.
    pub(super) fn of(error: &KafkaError, topic: Option<&str>, names: &Names) -> Self {
        let said = match error {
            KafkaError::Transaction(error) => error.string(),
            // It would show the value, too.
            KafkaError::ClientConfig(_, said, property, _) => format!("{property}: {said}"),
            KafkaError::ClientCreation(said) => said.clone(),
            _ => String::new(),
        };
        let code = match error {
            KafkaError::Transaction(error) => error.code(),
            _ => error.rdkafka_error_code().unwrap_or(Code::InvalidArgument),
        };
        Failure::new(code, topic, &said, names)
    }

    /// The same, where records or a commit failed for that reason.
    pub(super) fn of_records(self) -> Self {
        Failure { kind: Kind::Delivery, ..self }
    }

    /// A failure outside of the library.
    pub(super) fn local(kind: Kind, why: String) -> Self {
        Failure { kind, code: Code::Application, why }
    }

    /// What could not be done, for the log.
    pub(super) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Unreachable => "no broker can be reached",
            Kind::Access => "the brokers give no access",
            Kind::Delivery => "cannot deliver",
        }
    }
}

/// Whether a record that failed so will never be taken, or its batch was too large.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
    )
}

/// Whether a refusal is about the size.
pub(super) fn is_about_size(code: Code) -> bool {
    is_refusal(code) && code != Code::InvalidRecord
}

/// Whether a record failed only because another one did, or because the client is given up.
pub(super) fn is_consequence(code: Code) -> bool {
    matches!(
        code,
        Code::PurgeQueue | Code::PurgeInflight | Code::InvalidDifferentRecord | Code::Fatal
    )
}

/// The code that the library names in a log line about a transaction: `... (MSG_SIZE_TOO_LARGE)`.
pub(super) fn code_in(line: &str) -> Code {
    const NAMES: [(&str, Code); 15] = [
        ("TOPIC_AUTHORIZATION_FAILED", Code::TopicAuthorizationFailed),
        ("GROUP_AUTHORIZATION_FAILED", Code::GroupAuthorizationFailed),
        ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Code::TransactionalIdAuthorizationFailed),
        ("CLUSTER_AUTHORIZATION_FAILED", Code::ClusterAuthorizationFailed),
        ("UNKNOWN_TOPIC_OR_PART", Code::UnknownTopicOrPartition),
        ("_UNKNOWN_TOPIC", Code::UnknownTopic),
        ("MSG_SIZE_TOO_LARGE", Code::MessageSizeTooLarge),
        ("INVALID_MSG_SIZE", Code::InvalidMessageSize),
        ("RECORD_LIST_TOO_LARGE", Code::MessageBatchTooLarge),
        ("INVALID_RECORD", Code::InvalidRecord),
        ("INVALID_TIMESTAMP", Code::InvalidTimestamp),
        ("_FENCED", Code::Fenced),
        ("PRODUCER_FENCED", Code::ProducerFenced),
        ("INVALID_PRODUCER_EPOCH", Code::InvalidProducerEpoch),
        ("_TIMED_OUT", Code::OperationTimedOut),
    ];
    if line.contains("message(s) timed out") {
        return Code::MessageTimedOut;
    }
    let name = line.rsplit_once('(').map_or("", |(_, name)| name);
    let name = name.split([',', ')']).next().unwrap_or_default();
    NAMES.iter().find(|(known, _)| *known == name).map_or(Code::Fail, |&(_, code)| code)
}

/// What a log line about a transaction says, without the library's own terms around it.
pub(super) fn essence(line: &str) -> &str {
    let line = without_thread(line);
    let line = line.strip_prefix("Fatal transaction error: ").unwrap_or(line);
    let line = match line.strip_prefix("Current transaction failed in state ") {
        Some(rest) => rest.split_once(": ").map_or(rest, |(_, rest)| rest),
        None => line,
    };
    line.rsplit_once(" (").map_or(line, |(rest, _)| rest)
}

/// A log line without the name of the library's thread.
pub(super) fn without_thread(line: &str) -> &str {
    match line.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => line,
    }
}

fn sentence(code: Code, topic: Option<&str>, said: &str, names: &Names) -> String {
    let Names { brokers, identity, .. } = names;
    let topic = topic.or(names.topic.as_deref());
    let topic = topic.map_or_else(|| "the topic".to_owned(), |topic| format!("topic {topic}"));
    let or = |text: &str| if said.is_empty() { text.to_owned() } else { said.to_owned() };
    if let Some(sentence) = missing_right(code, &topic, names) {
        return sentence;
    }
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            format!("{topic} does not exist at the brokers: create it, or allow that it is created")
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            format!(
                "a record is larger than {topic} takes: raise its max.message.bytes (and \
                message.max.bytes in [kafka.properties]), or lower max_line_bytes"
            )
        }
        Code::InvalidRecord => format!("{topic} refuses a record as invalid: {}", or("no reason")),
        Code::InvalidTimestamp => {
            format!("{topic} refuses the time of a record: the clocks of host and broker differ")
        }
        Code::InvalidTopic => format!("the brokers do not allow the name of {topic}"),
        Code::PolicyViolation => format!("a policy of the brokers refuses records of {topic}"),
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => format!(
            "another manytail uses the identity {identity}, or a transaction took longer than \
            transaction_timeout: the brokers ended it"
        ),
        Code::ConcurrentTransactions => {
            "the brokers have not ended the last transaction yet".to_owned()
        }
        Code::InvalidTransactionTimeout => {
            "transaction_timeout is longer than the brokers' transaction.max.timeout.ms".to_owned()
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => format!(
            "the brokers lack something that is needed ({}): with transactions = false older ones \
            serve, too",
            or("transactions")
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            format!("too few replicas of {topic} are in sync (min.insync.replicas)")
        }
        Code::KafkaStorageError => {
            format!("a broker cannot store records of {topic}: its disk is full or broken")
        }
        Code::MessageTimedOut => format!(
            "no broker confirmed a record of {topic} in time: is there a leader, are enough \
            replicas in sync (min.insync.replicas), is a broker's disk full?"
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => format!(
            "{} is not accepted ({}): check `user`, and the content of password_file",
            who(names),
            or("authentication failed")
        ),
        Code::SSL => format!(
            "TLS fails ({}): is the brokers' certificate out of date, for another name, or not by \
            ca_file? `openssl s_client -connect BROKER` tells",
            or("no reason")
        ),
        // The first question was not understood.
        Code::AllBrokersDown if said.contains("APIVERSION_QUERY") => {
            format!("{brokers}: {said}: do they expect TLS (the setting `security`)?")
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            format!("{brokers}: {}", or("no answer"))
        }
        Code::OperationTimedOut | Code::WaitingForCoordinator => {
            format!("{brokers}: no answer in time{}", reason(said))
        }
        // A client that cannot be made; a reason without a code.
        Code::InvalidArgument | Code::Fail if !said.is_empty() => said.to_owned(),
        _ => format!("{code}{}", reason(said)),
    }
}

/// The same for what we may not do.
fn missing_right(code: Code, topic: &str, names: &Names) -> Option<String> {
    let Names { identity, offsets_topic, .. } = names;
    let who = who(names);
    Some(match code {
        Code::TopicAuthorizationFailed => {
            let offsets = match offsets_topic.as_str() {
                "" => String::new(),
                offsets => format!(", and Read on {offsets}"),
            };
            format!(
                "{who} may not write to {topic}: Write and Describe on it are needed{offsets} \
                (kafka-acls.sh)"
            )
        }
        Code::GroupAuthorizationFailed => {
            format!(
                "{who} may not commit as group {identity}: Read on it is needed (kafka-acls.sh)"
            )
        }
        Code::TransactionalIdAuthorizationFailed => format!(
            "{who} may not use the transactional id {identity}: Write and Describe on it are \
            needed (kafka-acls.sh)"
        ),
        Code::ClusterAuthorizationFailed => {
            format!("{who} may not write idempotently: IdempotentWrite on the cluster is needed")
        }
        _ => return None,
    })
}

/// Whom the brokers take us for.
pub(super) fn who(names: &Names) -> String {
    match names.user.as_str() {
        "" => "this client".to_owned(),
        user => format!("user {user}"),
    }
}

fn reason(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            brokers: "k1:9092".to_owned(),
            user: "mt".to_owned(),
            identity: "manytail-n1".to_owned(),
            offsets_topic: "marks".to_owned(),
            topic: Some("all".to_owned()),
        }
    }

    #[test]
    fn a_failure_says_who_may_not_do_what_and_where() {
        let why = |code, topic| Failure::new(code, topic, "", &names()).why;
        let text = why(Code::TopicAuthorizationFailed, Some("jobs"));
        assert!(text.contains("user mt may not write to topic jobs") && text.contains("marks"));
        assert!(why(Code::GroupAuthorizationFailed, None).contains("group manytail-n1"));
        assert!(why(Code::TopicAuthorizationFailed, None).contains("topic all"));
        assert!(why(Code::UnknownTopic, Some("jobs")).starts_with("topic jobs does not exist"));
        assert!(why(Code::Fenced, None).contains("another manytail uses the identity manytail-n1"));
    }

    #[test]
    fn the_code_of_a_failed_transaction_is_found_in_its_log_line() {
        let line = "Current transaction failed in state InTransaction: ProduceRequest for jobs [3] \
            with 1 message(s) failed: Broker: Message size too large (broker 2 PID{Id:1}, base seq \
            0): current transaction must be aborted (MSG_SIZE_TOO_LARGE)";
        assert_eq!(code_in(line), Code::MessageSizeTooLarge);
        assert_eq!(code_in("x (UNKNOWN_TOPIC_OR_PART, requires epoch bump)"), {
            Code::UnknownTopicOrPartition
        });
        assert_eq!(code_in("nothing of it"), Code::Fail);
        let line = "[thrd:main]: Current transaction failed in state InTransaction: Failed to \
            commit offsets: Local: Timed out (after 3 ms) (_TIMED_OUT)";
        assert_eq!(essence(line), "Failed to commit offsets: Local: Timed out (after 3 ms)");
    }
}
