//! What a collector is told of a span.

use std::time::SystemTime;

use super::brief;

/// What a span is, by the numbers of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Something inside.
    Internal = 1,
    /// A request that is answered.
    Server = 2,
    /// Something that is asked of another program.
    Client = 3,
    /// Something that was left for later.
    Consumer = 5,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Text(String),
    Number(i64),
}

/// Others' texts are shown by their beginning.
impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(brief(text).to_string())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

#[derive(Clone, Debug)]
pub struct Record {
    pub trace_id: u128,
    pub span_id: u64,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: SpanKind,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed.
    pub failure: Option<String>,
}
