//! Arguments of `keystone simulate`.

use std::path::PathBuf;

use anyhow::ensure;

use super::{Faults, Profile, RecordingProfile, RobotConfig, StoreConfig};

#[derive(Debug, Clone, clap::Args)]
pub struct SimulateOptions {
    /// How many robots; ids after the first one count up
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub robots: u16,
    /// Id of the first robot [default: AB-F0001-T0003-000001]. With `--server`: robots that are registered there, which only
    /// connect and wait for what others ask of them
    #[arg(long)]
    pub device_id: Option<String>,
    /// First part of every object key; with `--server` the server says it
    #[arg(long, default_value = "1")]
    pub factory_id: String,
    /// Where recorders connect; `/<device id>` is appended unless `{device_id}` stands in it
    #[arg(long, default_value = "ws://127.0.0.1:8091/recorder")]
    pub recorder: String,
    /// Where uploaders connect; `/<device id>` is appended
    #[arg(long, default_value = "ws://127.0.0.1:8090/transfer")]
    pub transfer: String,
    /// Bearer token of the recorder sockets
    #[arg(long, hide_env_values = true, env = "KEYSTONE_SIMULATE_TOKEN")]
    pub recorder_token: Option<String>,
    /// The server's own address, `http://edge:8080`. The program signs in there, makes what is missing of a factory, gives each
    /// robot a token and a store key, and has them record order after order; sockets and store are where the server says
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Who signs in at the server, an administrator
    #[arg(long, default_value = "admin", env = "KEYSTONE_SIMULATE_ACCOUNT", requires = "server")]
    pub account: String,
    /// Their password
    #[arg(long, hide_env_values = true, env = "KEYSTONE_SIMULATE_PASSWORD")]
    pub password: Option<String>,
    /// End when so many recordings became episodes, instead of never
    #[arg(long, value_name = "NUMBER", requires = "server", conflicts_with = "device_id", value_parser = clap::value_parser!(u32).range(1..))]
    pub episodes: Option<u32>,
    /// Seconds of each recording
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
    /// Name of the factory at the server: what is there under this name is used, so another program takes another name
    #[arg(long, default_value = "Simulated", value_parser = plain_name)]
    pub factory: String,
    /// S3 server that uploads go to
    #[arg(long, default_value = "http://127.0.0.1:9000", env = "KEYSTONE_S3_ENDPOINT")]
    pub s3_endpoint: String,
    #[arg(long, default_value = "edge-factory-default", env = "KEYSTONE_S3_BUCKET")]
    pub s3_bucket: String,
    #[arg(long, default_value = "us-east-1", env = "KEYSTONE_S3_REGION")]
    pub s3_region: String,
    #[arg(long, default_value = "", hide_env_values = true, env = "KEYSTONE_S3_ACCESS_KEY")]
    pub s3_access_key: String,
    #[arg(long, default_value = "", hide_env_values = true, env = "KEYSTONE_S3_SECRET_KEY")]
    pub s3_secret_key: String,
    /// Size of the parts that large files are sent in
    #[arg(long, default_value_t = StoreConfig::PART_BYTES)]
    pub s3_part_bytes: usize,
    /// Folder for recordings and upload state, one below it per robot
    #[arg(long, default_value = "keystone-data/robots")]
    pub data_dir: PathBuf,
    /// Divides waits and multiplies message rates
    #[arg(long, default_value_t = 1.0)]
    pub pace: f64,
    /// What is recorded
    #[arg(long, value_enum, default_value_t = Profile::Small)]
    pub profile: Profile,
    /// Size of one camera image of the profile `small`
    #[arg(long, default_value_t = 2304)]
    pub image_bytes: u32,
    /// Upload attempts before a task has failed
    #[arg(long, default_value_t = RobotConfig::ATTEMPTS_MAX)]
    pub attempts_max: u32,
    /// For everything random; robots count up from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub faults: Faults,
}

impl SimulateOptions {
    pub fn robots(&self) -> anyhow::Result<Vec<RobotConfig>> {
        let first = self.device_id.as_deref().unwrap_or("AB-F0001-T0003-000001");
        (0..self.robots).map(|n| self.robot(&nth_id(first, n), n)).collect()
    }

    pub(super) fn robot(&self, device_id: &str, n: u16) -> anyhow::Result<RobotConfig> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        ensure!(
            !device_id.is_empty() && device_id.chars().all(plain) && !device_id.starts_with('.'),
            "device id `{device_id}` may hold letters, digits, `.`, `_` and `-` only"
        );
        let recorder_url = if self.recorder.contains("{device_id}") {
            self.recorder.replace("{device_id}", device_id)
        } else {
            format!("{}/{device_id}", self.recorder.trim_end_matches('/'))
        };
        Ok(RobotConfig {
            device_id: device_id.to_owned(),
            factory_id: self.factory_id.clone(),
            recorder_url,
            transfer_url: self.transfer.clone(),
            recorder_token: self.recorder_token.clone(),
            store: StoreConfig {
                endpoint: self.s3_endpoint.clone(),
                bucket: self.s3_bucket.clone(),
                region: self.s3_region.clone(),
                access_key: self.s3_access_key.clone(),
                secret_key: self.s3_secret_key.clone(),
                part_bytes: self.s3_part_bytes,
            },
            data_dir: self.data_dir.join(device_id),
            pace: self.pace,
            profile: RecordingProfile::of(self.profile, self.image_bytes),
            attempts_max: self.attempts_max,
            seed: self.seed.wrapping_add(u64::from(n)),
            faults: self.faults,
        })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 3600".to_owned()) }
}

/// It stands in names of accounts and in addresses.
fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '-';
    if (1..=20).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("1 to 20 letters, digits, blanks and hyphens".to_owned())
    }
}

/// `…-000001` counts up to `…-000002`; an id without digits at its end gets a number.
fn nth_id(first: &str, n: u16) -> String {
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &first[stem.len()..];
    match (digits.parse::<u64>(), n) {
        (_, 0) => first.to_owned(),
        (Ok(number), n) => {
            format!("{stem}{:0width$}", number.saturating_add(u64::from(n)), width = digits.len())
        }
        (Err(_), n) => format!("{first}-{}", n + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::nth_id;

    #[test]
    fn ids_count_up_in_their_own_width() {
        assert_eq!(nth_id("AB-F0001-T0003-000009", 1), "AB-F0001-T0003-000010");
        assert_eq!(nth_id("AB-F0001-T0003-000009", 0), "AB-F0001-T0003-000009");
        assert_eq!(nth_id("robot", 1), "robot-2");
    }
}
