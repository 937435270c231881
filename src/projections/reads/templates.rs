//! Config templates of robot types.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::template::TemplateFile;
use crate::domain::{RobotTypeId, Timestamp};

row! {
    /// A template that is there.
    TemplateRow {
        filename: TemplateFile = "t.filename",
        content: String = "t.content",
        created_at: Timestamp = "t.created_at",
        updated_at: Timestamp = "t.updated_at",
    }
}

fn of_type() -> String {
    format!(
        "select {} from config_templates t where t.robot_type_id = $1 and t.content is not null order by t.filename",
        TemplateRow::columns()
    )
}

impl Reads {
    /// At most one for each program.
    pub async fn templates(&self, id: RobotTypeId) -> Result<Vec<TemplateRow>, ReadError> {
        self.rows(&of_type(), &[&id]).await
    }

    pub async fn template(&self, id: RobotTypeId, file: TemplateFile) -> Result<Option<TemplateRow>, ReadError> {
        Ok(self.templates(id).await?.into_iter().find(|row| row.filename == file))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("templates of a robot type", of_type())]
}
