//! What there is to say of a setting.
//!
//! In: nothing. Out: [`Key`], and the types of which rows of the tables are made.
//! Always holds: the order of the keys is that of the rows.

use super::environment;
use super::kind::{Form, Kind};

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "one is the key of records, and called like its row")]
pub(crate) enum Key {
    Config,
    Output,
    Brokers,
    Format,
    Host,
    Label,
    ShutdownTimeout,
    Paths,
    Preset,
    Include,
    Exclude,
    NoDefaultExcludes,
    From,
    Binary,
    CarriageReturn,
    Record,
    RecordAfter,
    Keep,
    Drop,
    End,
    EndIdle,
    Job,
    Uid,
    Recursive,
    FollowSymlinks,
    SameOwner,
    Once,
    IgnoreOlder,
    MaxLineBytes,
    PartialAfter,
    StateDir,
    CommitInterval,
    Coalesce,
    Pace,
    Adaptive,
    SchedBatch,
    KeepOpen,
    Rescan,
    RescanRemote,
    Metrics,
    ControlSocket,
    LogLevel,
    LogFormat,
    KafkaBrokers,
    KafkaTransactions,
    KafkaTransactionTimeout,
    KafkaOffsetsTopic,
    KafkaKey,
    KafkaHeaders,
    KafkaCompression,
    KafkaSecurity,
    KafkaCaFile,
    KafkaCertificateFile,
    KafkaKeyFile,
    KafkaSasl,
    KafkaUser,
    KafkaPasswordFile,
    KafkaOnRefused,
    KafkaProperties,
    NatsServers,
    NatsStream,
    NatsCreate,
    NatsReplicas,
    NatsCredentialsFile,
    NatsNkeyFile,
    NatsUser,
    NatsPasswordFile,
    NatsTls,
    NatsCaFile,
    NatsCertificateFile,
    NatsKeyFile,
    NatsOnRefused,
}

/// Who may say a setting, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The command line and the environment, for the whole run.
    CommandLine,
    /// A settings file, too.
    Run,
    /// A settings file, too, for all inputs or for one.
    Input,
    /// A settings file alone, in the table of this name.
    Table(&'static str),
}

/// What a run does with a new value when it reads its settings again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It takes it.
    Live(Live),
    /// It takes it with the inputs, of which it is a part.
    Inputs,
    /// It keeps the old one, and says so.
    Restart,
}

/// What a run can change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    Host,
    ShutdownTimeout,
    IgnoreOlder,
    MaxLineBytes,
    PartialAfter,
    CommitInterval,
    Coalesce,
    Pace,
    Adaptive,
    SchedBatch,
    KeepOpen,
    Rescan,
    LogLevel,
}

/// All there is to say of a setting.
pub struct Row {
    /// Which one it is.
    pub(crate) key: Key,
    /// As it is called in a file: the option without its dashes, `_` for `-`; with a dot behind the
    /// name of its table, if it has one.
    pub name: &'static str,
    /// The short option.
    pub short: Option<char>,
    /// What it takes.
    pub(crate) kind: Kind,
    /// The value that applies if none is given. `None`: the setting is then off, or found out
    /// elsewhere.
    pub default: Option<&'static str>,
    /// The default in words, where the value does not show it.
    pub in_words: Option<&'static str>,
    /// Who may say it.
    pub scope: Scope,
    /// What a run does with a new value.
    pub(crate) change: Change,
    /// Above which options it is in the help.
    pub heading: &'static str,
    /// What the help says.
    pub help: &'static str,
}

impl Row {
    /// Whether it has an option; PATHs are arguments.
    #[must_use]
    pub fn is_option(&self) -> bool {
        !matches!(self.kind, Kind::Paths) && self.table().is_none()
    }

    /// The table of a settings file that alone may say it.
    #[must_use]
    pub fn table(&self) -> Option<&'static str> {
        match self.scope {
            Scope::Table(name) => Some(name),
            _ => None,
        }
    }

    /// The name without that of its table.
    #[must_use]
    pub fn bare_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The option, without its dashes.
    #[must_use]
    pub fn option(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", environment::PREFIX, self.name.to_ascii_uppercase())
    }

    /// The option as it is written in a reference: `-f, --format raw|text`, `--host[=NAME]`. PATH,
    /// which has none: its word. A key of a table as it stands there: `brokers = [HOST:PORT]`.
    #[must_use]
    pub fn synopsis(&self) -> String {
        let word = self.kind.placeholder();
        if self.table().is_some() {
            let value = match self.kind.form() {
                Form::List => format!("[{word}]"),
                Form::Table => format!("{{ {word} }}"),
                _ => word,
            };
            return format!("{} = {value}", self.bare_name());
        }
        let value = match self.kind {
            Kind::Paths => return word,
            Kind::Switch => String::new(),
            _ if self.kind.bare().is_some() => format!("[={word}]"),
            _ => format!(" {word}"),
        };
        let short = self.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        format!("{short}--{}{value}", self.option())
    }

    /// Whether a settings file may say it.
    #[must_use]
    pub fn is_in_files(&self) -> bool {
        self.scope != Scope::CommandLine
    }

    /// Whether a run takes a new value without a restart.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.change != Change::Restart
    }
}
