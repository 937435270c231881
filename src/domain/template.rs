//! Config templates: the files that a robot of a type renders its configuration from. Anybody can read them, so they
//! hold placeholders where each robot has a secret of its own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aggregate::events;
use super::literal_secrets::{Kind, literals};
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, RobotTypeId};

/// The largest template, in bytes.
pub const CONTENT_BYTES_MAX: usize = 262_144;

words! {
    /// Which program a template configures. Each robot type has one of each, or none.
    TemplateFile {
        Recorder = "recorder.yaml",
        Transfer = "transfer.yaml",
    }
}

/// The stream of one file of one robot type: `<robot type>/<filename>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigTemplate {
    #[default]
    Absent,
    Written(Template),
    Deleted(Template),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub robot_type_id: RobotTypeId,
    pub filename: TemplateFile,
    /// Text with `{{ placeholders }}`.
    pub content: String,
}

pub fn stream_of(robot_type_id: RobotTypeId, filename: TemplateFile) -> String {
    format!("{robot_type_id}/{}", filename.as_str())
}

#[derive(Clone, Debug)]
pub enum TemplateCommand {
    Write(Template),
    Delete,
}

events! {
    TemplateEvent {
        ConfigTemplateWritten = "config_template_written", "1.0" (Template),
        ConfigTemplateDeleted = "config_template_deleted", "1.0" {},
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefusal {
    #[error("content is required")]
    Blank,
    #[error("content too large: at most {CONTENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("line {line} writes out a secret (`{name}`), and anybody can read a template; {}", instead_of(*kind))]
    LiteralSecret { line: usize, name: String, kind: Kind },
}

impl Refused for TemplateRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Blank => RefusalCode::TemplateBlank,
            Self::TooLarge => RefusalCode::TemplateTooLarge,
            Self::LiteralSecret { .. } => RefusalCode::TemplateWithSecret,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::LiteralSecret { line, name, kind } => json!({ "line": line, "name": name, "placeholder": kind.placeholder() }),
            Self::Blank | Self::TooLarge => Value::Null,
        }
    }
}

fn instead_of(kind: Kind) -> String {
    match kind.placeholder() {
        Some(placeholder) => format!("write {placeholder}, which each robot replaces by its own"),
        None => "leave it out and put it on the robot".to_owned(),
    }
}

impl Aggregate for ConfigTemplate {
    const TYPE: &'static str = "config_template";
    type Command = TemplateCommand;
    type Event = TemplateEvent;
    type Refusal = TemplateRefusal;

    fn decide(&self, command: TemplateCommand) -> Result<Vec<TemplateEvent>, TemplateRefusal> {
        match (self, command) {
            (_, TemplateCommand::Write(template)) if template.content.trim().is_empty() => Err(TemplateRefusal::Blank),
            (_, TemplateCommand::Write(template)) if template.content.len() > CONTENT_BYTES_MAX => Err(TemplateRefusal::TooLarge),
            (Self::Written(known), TemplateCommand::Write(template)) if *known == template => Ok(vec![]),
            (_, TemplateCommand::Write(template)) => match literals(&template.content).into_iter().next() {
                Some(secret) => Err(TemplateRefusal::LiteralSecret { line: secret.line, name: secret.name, kind: secret.kind }),
                None => Ok(vec![TemplateEvent::ConfigTemplateWritten(template)]),
            },
            (Self::Written(_), TemplateCommand::Delete) => Ok(vec![TemplateEvent::ConfigTemplateDeleted {}]),
            // Gone already.
            (Self::Absent | Self::Deleted(_), TemplateCommand::Delete) => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &TemplateEvent) {
        match event {
            TemplateEvent::ConfigTemplateWritten(template) => *self = Self::Written(template.clone()),
            TemplateEvent::ConfigTemplateDeleted {} => {
                if let Self::Written(template) = self {
                    *self = Self::Deleted(Template { content: String::new(), ..template.clone() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Event;

    fn write(content: &str) -> TemplateCommand {
        TemplateCommand::Write(Template { robot_type_id: RobotTypeId(1), filename: TemplateFile::Recorder, content: content.into() })
    }

    #[test]
    fn a_template_is_written_replaced_and_deleted() {
        let mut template = ConfigTemplate::default();
        for (command, types) in [
            (TemplateCommand::Delete, vec![]),
            (write("a: 1"), vec!["config_template_written"]),
            (write("a: 1"), vec![]),
            (write("a: 2"), vec!["config_template_written"]),
            (TemplateCommand::Delete, vec!["config_template_deleted"]),
            (TemplateCommand::Delete, vec![]),
            (write("a: 2"), vec!["config_template_written"]),
        ] {
            let events = template.decide(command).unwrap();
            events.iter().for_each(|event| template.evolve(event));
            assert_eq!(events.iter().map(Event::event_type).collect::<Vec<_>>(), types);
        }
    }

    #[test]
    fn a_secret_written_out_is_refused_and_its_placeholder_is_named() {
        let template = ConfigTemplate::default();
        for (content, said) in [
            (
                "a: 1\nsecret_key: hunter2",
                "line 2 writes out a secret (`secret_key`), and anybody can read a template; write {{ store_secret_key }}",
            ),
            ("access_key: keystone", "write {{ store_access_key }}"),
            ("auth_token: \"abc\"", "write {{ ws_client_auth_token }}"),
            ("password: abc", "leave it out"),
        ] {
            let refused = template.decide(write(content)).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        assert!(template.decide(write("secret_key: \"{{ store_secret_key }}\"")).is_ok());
    }

    #[test]
    fn blank_and_oversized_content_is_refused() {
        let template = ConfigTemplate::default();
        assert_eq!(template.decide(write(" \n\t")), Err(TemplateRefusal::Blank));
        assert_eq!(template.decide(write(&"ä".repeat(CONTENT_BYTES_MAX / 2 + 1))), Err(TemplateRefusal::TooLarge));
        assert!(template.decide(write(&"x".repeat(CONTENT_BYTES_MAX))).is_ok());
    }
}
