//! What `keystone serve` prints when everything is ready: where it is, who logs in, how it is stopped.

use std::fmt;

use super::robots_at_work::RobotsAtWork;
use crate::app::{AdminPassword, App};
use crate::config::{Config, reachable};
use crate::simulator::cloud::Cloud;

pub struct Greeting<'a> {
    pub app: &'a App,
    pub config: &'a Config,
    pub robots: Option<&'a RobotsAtWork>,
    pub cloud: Option<&'a Cloud>,
    /// A person reads it, and sees a part of the log only.
    pub watched: bool,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, config, robots, cloud, watched } = self;
        let (http, recorder, transfer) = (reachable(app.http), reachable(app.recorder), reachable(app.transfer));
        writeln!(f, "\nKeystone Edge is ready")?;
        writeln!(f, "  Console    http://{http}/   (in a browser; the interface: http://{http}/api/v1/docs)")?;
        writeln!(f, "  Recorders  ws://{recorder}/recorder/<device_id>")?;
        writeln!(f, "  Uploaders  ws://{transfer}/transfer/<device_id>")?;
        writeln!(f, "  Objects    {}  bucket {}", app.s3_endpoint, app.bucket)?;
        if config.database.is_embedded() || config.s3.is_embedded() {
            let folder = &config.embedded.data_dir;
            writeln!(f, "  Data       {}", folder.canonicalize().as_ref().unwrap_or(folder).display())?;
        }
        for (account, password) in robots.iter().flat_map(|robots| robots.collectors()) {
            writeln!(f, "  Collector  {account}  password {}, whose robot is at work", password.unwrap_or("as set before"))?;
        }
        if let Some(cloud) = cloud {
            writeln!(f, "  Cloud      {}/report   (simulated: what is approved is pushed there)", cloud.addresses().control_url())?;
        }
        if *watched {
            writeln!(f, "  Log        warnings and errors; KEYSTONE_LOG=info shows everything")?;
        }
        writeln!(f, "  Stop       Ctrl-C")?;
        writeln!(f, "  Login      {}", app.admin_username)?;
        match &app.admin_password {
            AdminPassword::Made(password, Some(file)) => writeln!(f, "  Password   {}   (also in {})", password.expose(), file.display()),
            AdminPassword::Made(password, None) => writeln!(f, "  Password   {}   (made now and shown this once)", password.expose()),
            AdminPassword::InFile(_, file) => writeln!(f, "  Password   in {}", file.display()),
            AdminPassword::Given(_) => writeln!(f, "  Password   as the settings say"),
            AdminPassword::Kept => writeln!(f, "  Password   as before; KEYSTONE_ADMIN_PASSWORD sets another one"),
        }
    }
}
