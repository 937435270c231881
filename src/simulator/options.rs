//! Arguments of `keystone simulate`.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::client::{Client, id_of};
use super::factory::Equipment;
use super::{Faults, Profile, RecordingProfile, RobotConfig, StoreConfig};

#[derive(Debug, Clone, clap::Args)]
pub struct SimulateOptions {
    /// How many robots; ids after the first one count up
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub robots: u16,
    /// Id of the first robot
    #[arg(long, default_value = "AB-F0001-T0003-000001")]
    pub device_id: String,
    /// First part of every object key
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
    /// The server's own address, `http://edge:8080`: it is asked for a token and a store key for each robot, which have to
    /// be registered there; sockets and store are then where it says
    #[arg(long)]
    pub server: Option<String>,
    /// Who asks
    #[arg(long, default_value = "admin")]
    pub account: String,
    #[arg(long, default_value = "", hide_env_values = true, env = "KEYSTONE_SIMULATE_PASSWORD")]
    pub password: String,
    /// S3 server that uploads go to
    #[arg(long, default_value = "http://127.0.0.1:9000", env = "KEYSTONE_S3_ENDPOINT")]
    pub s3_endpoint: String,
    #[arg(long, default_value = "axon-recordings", env = "KEYSTONE_S3_BUCKET")]
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
    /// With what the server gives each of them, where it is asked.
    pub(super) async fn equipped_robots(&self) -> anyhow::Result<Vec<RobotConfig>> {
        let mut robots = self.robots()?;
        let Some(server) = &self.server else { return Ok(robots) };
        let client = Client::sign_in(server, &self.account, &self.password).await?;
        for robot in &mut robots {
            let found = client.get(&format!("/robots?device_id={}", robot.device_id)).await?;
            let robot_id = id_of(&found["items"][0]["id"]).with_context(|| format!("{server} has no robot {}", robot.device_id))?;
            let Equipment { token, recorder_url, transfer_url, store } = Equipment::renewed(&client, robot_id).await?;
            (robot.recorder_url, robot.transfer_url, robot.recorder_token) = (recorder_url, transfer_url, Some(token));
            // Where the store is not the server's own, the key is the one that was given.
            robot.store = match store.access_key.is_empty() {
                true => StoreConfig { access_key: robot.store.access_key.clone(), secret_key: robot.store.secret_key.clone(), ..store },
                false => store,
            };
            robot.store.part_bytes = self.s3_part_bytes;
        }
        Ok(robots)
    }

    pub fn robots(&self) -> anyhow::Result<Vec<RobotConfig>> {
        (0..self.robots).map(|n| self.robot(&nth_id(&self.device_id, n), n)).collect()
    }

    fn robot(&self, device_id: &str, n: u16) -> anyhow::Result<RobotConfig> {
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
