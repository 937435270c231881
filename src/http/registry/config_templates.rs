//! `/robot_types/{id}/config_templates`, and the files that robots download.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::commands::CommandError;
use crate::commands::registration::{DeleteTemplate, WriteTemplate};
use crate::domain::literal_secrets::{self, Kind};
use crate::domain::template::{CONTENT_BYTES_MAX, Template, TemplateFile, TemplateRefusal};
use crate::domain::{RobotTypeId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, PathId, PathTexts};
use crate::http::fields::Text;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::WholeSecond;
use crate::http::words::TemplateFileWord;
use crate::projections::reads::templates::TemplateRow;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::OPEN, routes!(raw))
        .at(Policy::ADMINISTER.shared(), routes!(list))
        .at(Policy::ADMINISTER.shared(), routes!(get))
        .at(Policy::ADMINISTER.shared(), routes!(put))
        .at(Policy::ADMINISTER.shared(), routes!(delete))
}

/// One of the two files that a robot type may have.
#[derive(Debug, Serialize, ToSchema)]
pub struct Slot {
    /// `recorder.yaml` or `transfer.yaml`.
    #[schema(value_type = TemplateFileWord)]
    filename: &'static str,
    /// Whether the robot type has it.
    exists: bool,
    /// When it was written last; null where it does not exist.
    #[schema(required)]
    updated_at: Option<WholeSecond>,
}

/// The templates of a robot type.
#[derive(Debug, Serialize, ToSchema)]
pub struct Slots {
    /// Both of them.
    templates: Vec<Slot>,
}

/// A template.
#[derive(Debug, Serialize, ToSchema)]
pub struct Content {
    /// `recorder.yaml` or `transfer.yaml`.
    #[schema(value_type = TemplateFileWord)]
    filename: &'static str,
    /// Text with `{{ placeholders }}`.
    content: String,
    /// When it was written first.
    created_at: WholeSecond,
    /// When it was written last.
    updated_at: WholeSecond,
}

/// How much it may be is the template's rule.
type TemplateText = Text<CONTENT_BYTES_MAX>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewContent {
    /// Text with `{{ placeholders }}`; counted in bytes.
    #[schema(value_type = TemplateText)]
    content: Option<String>,
}

/// A template that was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct Written {
    /// `recorder.yaml` or `transfer.yaml`.
    #[schema(value_type = TemplateFileWord)]
    filename: &'static str,
    /// Always true.
    exists: bool,
    /// When it was written first.
    created_at: WholeSecond,
    /// When it was written last.
    updated_at: WholeSecond,
}

fn robot_type(text: &str) -> Result<RobotTypeId, Problem> {
    let id: Option<i64> = text.parse().ok().filter(|id| *id > 0);
    id.map(RobotTypeId).ok_or_else(|| Problem::invalid("invalid robot_type_id"))
}

fn file((id, filename): &(String, String)) -> Result<(RobotTypeId, TemplateFile), Problem> {
    let id = robot_type(id)?;
    Ok((id, filename.parse().map_err(|_| Problem::invalid("invalid config filename"))?))
}

async fn must_exist(state: &AppState, id: RobotTypeId) -> Result<(), Problem> {
    state.reads.robot_type(&Scope::Everything, id).await?.map(|_| ()).ok_or_else(|| Problem::not_found("robot_type"))
}

async fn found(state: &AppState, id: RobotTypeId, file: TemplateFile) -> Result<TemplateRow, Problem> {
    match state.reads.template(id, file).await? {
        Some(row) => Ok(row),
        None => {
            must_exist(state, id).await?;
            Err(Problem::not_found("config template"))
        }
    }
}

/// The template as a robot downloads it, placeholders untouched. Secrets of this server that one of an older version
/// holds give way to placeholders.
#[utoipa::path(get, path = "/api/v1/robot_types/{id}/configs/{filename}", tag = "devices", security(()), params(
    ("id" = i64, Path, description = "The robot type's id"), ("filename" = TemplateFileWord, Path, description = "Which of the two"),
), responses(
    (status = 200, body = Value, content_type = "text/yaml; charset=utf-8", description = "The file"),
    (status = 404, description = "There is no such robot type, or it has no such template"),
))]
pub async fn raw(State(state): State<AppState>, PathTexts(path): PathTexts) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let (id, file) = file(&path)?;
    let content = found(&state, id, file).await?.content;
    Ok(([(CONTENT_TYPE, "text/yaml; charset=utf-8")], literal_secrets::without(&content, &state.settings.secrets).into_owned()))
}

/// Both templates of a robot type, whether they exist or not.
#[utoipa::path(get, path = "/api/v1/robot_types/{id}/config_templates", tag = "registry", params(("id" = i64, Path, description = "The robot type's id")), responses(
    (status = 200, body = Slots),
    (status = 404, description = "There is no such robot type"),
))]
pub async fn list(State(state): State<AppState>, PathId(id): PathId) -> Result<Json<Slots>, Problem> {
    let id = robot_type(&id.to_string())?;
    must_exist(&state, id).await?;
    let rows = state.reads.templates(id).await?;
    let slot = |file: &TemplateFile| {
        let row = rows.iter().find(|row| row.filename == *file);
        Slot { filename: file.as_str(), exists: row.is_some(), updated_at: row.map(|row| row.updated_at.into()) }
    };
    Ok(Json(Slots { templates: TemplateFile::ALL.iter().map(slot).collect() }))
}

/// A template, for editing.
#[utoipa::path(get, path = "/api/v1/robot_types/{id}/config_templates/{filename}", tag = "registry", params(
    ("id" = i64, Path, description = "The robot type's id"), ("filename" = TemplateFileWord, Path, description = "Which of the two"),
), responses((status = 200, body = Content), (status = 404, description = "There is no such robot type, or it has no such template")))]
pub async fn get(State(state): State<AppState>, PathTexts(path): PathTexts) -> Result<Json<Content>, Problem> {
    let (id, file) = file(&path)?;
    let row = found(&state, id, file).await?;
    let (created_at, updated_at) = (row.created_at.into(), row.updated_at.into());
    Ok(Json(Content { filename: row.filename.as_str(), content: row.content, created_at, updated_at }))
}

/// Write or replace a template. What it says is not looked into, but for secrets: anybody can read it.
#[utoipa::path(put, path = "/api/v1/robot_types/{id}/config_templates/{filename}", tag = "registry", params(
    ("id" = i64, Path, description = "The robot type's id"), ("filename" = TemplateFileWord, Path, description = "Which of the two"),
), request_body = NewContent, responses(
    (status = 200, body = Written),
    (status = 400, description = "The content is blank or too large, or writes out a secret"),
    (status = 404, description = "There is no such robot type"),
))]
pub async fn put(
    State(state): State<AppState>,
    caller: Caller,
    PathTexts(path): PathTexts,
    Json(new): Json<NewContent>,
) -> Result<Json<Written>, Problem> {
    let (robot_type_id, filename) = file(&path)?;
    let content = new.content.unwrap_or_default();
    if content.contains('\0') {
        return Err(Problem::of_field("content", "must not have a NUL character"));
    }
    if let Some(at) = state.settings.secrets.iter().filter_map(|secret| content.find(secret.as_str())).min() {
        let line = content[..at].lines().count().max(1);
        let refused = TemplateRefusal::LiteralSecret { line, name: "a secret of this server".into(), kind: Kind::StoreSecretKey };
        return Err(CommandError::Refused(refused.into()).into());
    }
    let written = state.commands.execute(&caller.context(), WriteTemplate(Template { robot_type_id, filename, content })).await?;
    let (created_at, updated_at) = (written.created_at.into(), written.updated_at.into());
    Ok(Json(Written { filename: filename.as_str(), exists: true, created_at, updated_at }))
}

/// Take a template away. One that is not there is gone already.
#[utoipa::path(delete, path = "/api/v1/robot_types/{id}/config_templates/{filename}", tag = "registry", params(
    ("id" = i64, Path, description = "The robot type's id"), ("filename" = TemplateFileWord, Path, description = "Which of the two"),
), responses((status = 204), (status = 404, description = "There is no such robot type")))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathTexts(path): PathTexts) -> Result<StatusCode, Problem> {
    let (id, file) = file(&path)?;
    state.commands.execute(&caller.context(), DeleteTemplate(id, file)).await?;
    Ok(StatusCode::NO_CONTENT)
}
