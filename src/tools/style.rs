//! How a command writes its answer: for people, or for programs.

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people, and for `cut`.
    Text,
    /// One JSON object per line.
    Json,
}

impl Style {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Style); 2] = [("text", Style::Text), ("json", Style::Json)];
}
