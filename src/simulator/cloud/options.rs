//! Arguments of `keystone simulate-cloud`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{CloudDevice, CloudFaults};

#[derive(Debug, Clone, clap::Args)]
pub struct CloudOptions {
    /// Where the S3 endpoint listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9100", value_name = "ADDRESS")]
    pub s3: SocketAddr,
    /// Where the receiver of finished episodes listens
    #[arg(long, default_value = "127.0.0.1:9101", value_name = "ADDRESS")]
    pub receiver: SocketAddr,
    /// Where devices of the data gateway get their tokens, by gRPC
    #[arg(long, default_value = "127.0.0.1:9102", value_name = "ADDRESS")]
    pub auth: SocketAddr,
    /// Where the data gateway listens, by gRPC
    #[arg(long, default_value = "127.0.0.1:9103", value_name = "ADDRESS")]
    pub gateway: SocketAddr,
    /// Where the OSS endpoint listens, to which the gateway sends its clients
    #[arg(long, default_value = "127.0.0.1:9104", value_name = "ADDRESS")]
    pub oss: SocketAddr,
    /// Where the report is read and faults are changed, on this machine only
    #[arg(long, default_value = "127.0.0.1:9109", value_name = "ADDRESS")]
    pub control: SocketAddr,
    /// A bucket of the S3 endpoint; may be given several times
    #[arg(long = "bucket", default_values_t = ["keystone-cloud".to_owned()], value_name = "NAME")]
    pub buckets: Vec<String>,
    /// The bucket of the OSS endpoint
    #[arg(long, default_value = "keystone-oss", value_name = "NAME")]
    pub oss_bucket: String,
    /// A device of the data gateway, with its key (base64) and tags as `robot-7:a2V5,site=shanghai`; may be given several times
    #[arg(long = "device", default_values = ["simulated-asset"], value_name = "ID[:KEY][,TAG=VALUE]…")]
    pub devices: Vec<CloudDevice>,
    /// What keys of the gateway's objects begin with; the device and the upload follow
    #[arg(long, default_value = "recordings/", value_name = "TEXT")]
    pub key_prefix: String,
    /// The size of parts that the gateway asks for, in bytes
    #[arg(long, default_value_t = 8 << 20, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(102_400..))]
    pub part_size: i64,
    /// Write the file that tells a server of the gateway and its devices, with their keys
    #[arg(long, value_name = "FILE")]
    pub write_config: Option<PathBuf>,
    /// Access key that requests have to be signed with
    #[arg(long, default_value = "simulated-cloud")]
    pub access_key: String,
    /// Its secret; what is signed with another is refused
    #[arg(long, default_value = "simulated-cloud-secret")]
    pub secret_key: String,
    /// Bearer token that the receiver asks for; without it, it asks for none
    #[arg(long, value_name = "TOKEN")]
    pub receiver_token: Option<String>,
    /// Folder for what is received; emptied of it at the start and at the end
    #[arg(long, default_value = "keystone-data/cloud", value_name = "FOLDER", conflicts_with = "discard")]
    pub data_dir: PathBuf,
    /// Hash and count what is received, and keep none of it: nothing can be read back, and tags are not those of S3
    #[arg(long)]
    pub discard: bool,
    /// Hash nothing either, and believe what is said of it: only counted, as quickly as it comes
    #[arg(long, requires = "discard")]
    pub unchecked: bool,
    /// For everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub faults: CloudFaults,
}

impl CloudOptions {
    /// With one bucket and no faults, over a folder: for a cloud inside another program.
    pub fn on_free_ports(data_dir: PathBuf) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            s3: anywhere,
            receiver: anywhere,
            auth: anywhere,
            gateway: anywhere,
            oss: anywhere,
            control: anywhere,
            buckets: vec!["keystone-cloud".to_owned()],
            oss_bucket: "keystone-oss".to_owned(),
            devices: vec![CloudDevice::named("simulated-asset")],
            key_prefix: "recordings/".to_owned(),
            part_size: 8 << 20,
            write_config: None,
            access_key: "simulated-cloud".to_owned(),
            secret_key: "simulated-cloud-secret".to_owned(),
            receiver_token: None,
            data_dir,
            discard: false,
            unchecked: false,
            seed: 1,
            faults: CloudFaults::default(),
        }
    }
}
