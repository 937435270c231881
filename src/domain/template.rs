//! Config templates: the files that a robot of a type renders its configuration from.

use serde::{Deserialize, Serialize};

use super::{Aggregate, Event, RobotTypeId};

/// The largest template, in bytes.
pub const CONTENT_BYTES_MAX: usize = 262_144;

/// Which program a template configures. Each robot type has one of each, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TemplateFile {
    #[serde(rename = "recorder.yaml")]
    Recorder,
    #[serde(rename = "transfer.yaml")]
    Transfer,
}

impl TemplateFile {
    pub const ALL: [(&'static str, Self); 2] = [("recorder.yaml", Self::Recorder), ("transfer.yaml", Self::Transfer)];

    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }

    pub fn parse(text: &str) -> Option<Self> {
        super::catalog::parse(&Self::ALL, text)
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
    /// Text with `{{ placeholders }}`, not looked into.
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateEvent {
    ConfigTemplateWritten(Template),
    ConfigTemplateDeleted {},
}

impl Event for TemplateEvent {
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![("config_template_written", "1.0"), ("config_template_deleted", "1.0")]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::ConfigTemplateWritten(_) => "config_template_written",
            Self::ConfigTemplateDeleted {} => "config_template_deleted",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefusal {
    #[error("content is required")]
    Blank,
    #[error("content too large: at most {CONTENT_BYTES_MAX} bytes")]
    TooLarge,
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
            (_, TemplateCommand::Write(template)) => Ok(vec![TemplateEvent::ConfigTemplateWritten(template)]),
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
    fn blank_and_oversized_content_is_refused() {
        let template = ConfigTemplate::default();
        assert_eq!(template.decide(write(" \n\t")), Err(TemplateRefusal::Blank));
        assert_eq!(template.decide(write(&"ä".repeat(CONTENT_BYTES_MAX / 2 + 1))), Err(TemplateRefusal::TooLarge));
        assert!(template.decide(write(&"x".repeat(CONTENT_BYTES_MAX))).is_ok());
    }
}
