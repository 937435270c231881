//! `keystone config`: every setting with its value, and where that comes from.

use std::path::Path;

use crate::app::{ADMIN_PASSWORD, JWT_SECRET};
use crate::config::{Config, Given, Origin, Purpose, Setting, settings};

use super::output::say;

#[derive(clap::Args)]
pub struct Options {
    /// Only settings whose name, or whose variable, has this in it
    #[arg(value_name = "PART")]
    part: Option<String>,
    /// Also what each setting means, its unit, and the variables that set it
    #[arg(long)]
    long: bool,
    /// A JSON list for machines instead of text
    #[arg(long)]
    json: bool,
}

/// Starts and changes nothing. An error where these settings cannot be used by `serve`, after they were listed.
pub fn run(file: Option<&Path>, options: &Options) -> anyhow::Result<()> {
    let given = Given::read(file)?;
    let config = Config::of(&given, Purpose::Serve);
    let mut all = settings(&given)?;
    if let Ok(config) = &config {
        for setting in &mut all {
            complete(setting, config);
        }
    }
    let part = options.part.as_deref().unwrap_or_default().to_lowercase();
    let named =
        |setting: &Setting| setting.key.contains(&part) || setting.variables.iter().any(|variable| variable.to_lowercase().contains(&part));
    all.retain(named);
    if options.json {
        say(&serde_json::to_string_pretty(&all)?)?;
    } else {
        let width = all.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        for setting in &all {
            say(&line(setting, width))?;
            if options.long {
                say(&explanation(setting))?;
            }
        }
        for notice in config.iter().flat_map(|config| &config.notices) {
            say(&format!("Note: {notice}"))?;
        }
    }
    anyhow::ensure!(!all.is_empty(), "no setting has `{part}` in its name; without it all are listed");
    config?;
    Ok(())
}

/// What the program fills in where nothing is set.
fn complete(setting: &mut Setting, config: &Config) {
    let remembered = |name: &str| {
        let file = format!("secrets/{name}");
        config.embedded.data_dir.join(&file).exists().then_some(file)
    };
    let embedded = config.database.is_embedded() || config.s3.is_embedded();
    match (&*setting.key, &setting.value) {
        ("s3.bucket", None) => setting.value = Some(config.s3.bucket.clone()),
        ("auth.jwt_secret" | "auth.admin_password", None) if embedded => {
            let name = if setting.key == "auth.jwt_secret" { JWT_SECRET } else { ADMIN_PASSWORD };
            if let Some(file) = remembered(name) {
                (setting.value, setting.origin) = (Some("set".to_owned()), Origin::DataFolder(file));
            }
        }
        _ => {}
    }
}

fn line(setting: &Setting, width: usize) -> String {
    let value = setting.value.as_deref().unwrap_or("not set");
    let origin = match &setting.origin {
        Origin::Default => "default".to_owned(),
        Origin::File(name) => format!("file {name}"),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::DotEnv(name) => format!(".env {name}"),
        Origin::DataFolder(name) => format!("data folder {name}"),
    };
    format!("{:<width$}  {value:<28}  {origin}", setting.key)
}

/// Columns of a text that is read.
const COLUMNS: usize = 100;

fn explanation(setting: &Setting) -> String {
    let mut told = setting.meaning.clone();
    if let Some(unit) = setting.unit {
        told = format!("{told} In {unit}.");
    }
    if !setting.variables.is_empty() {
        told = format!("{told} [{}]", setting.variables.join(", "));
    }
    let (mut lines, mut line) = (String::new(), String::from("   "));
    for word in told.split_whitespace() {
        if line.chars().count() + word.chars().count() > COLUMNS {
            lines += &std::mem::replace(&mut line, String::from("   "));
            lines.push('\n');
        }
        line = format!("{line} {word}");
    }
    lines + &line + "\n"
}
