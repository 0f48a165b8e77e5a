//! `info`: numbers and versions.

use std::fs;

use state::Status;
use sys::Result;

use crate::apparmor;
use crate::cgroup::Hierarchies;
use crate::containers::list::ListRequest;
use crate::copy::has_reflinks;
use crate::engine::{Engine, Info};

impl Engine {
    /// Whether files of the store can share blocks: clones then copy nothing.
    pub fn has_reflinks(&self) -> bool {
        has_reflinks(self.layout().root())
    }

    /// Numbers and versions, as `info` shows them.
    pub fn info(&self) -> Result<Info> {
        let all = self.containers().list(&ListRequest {
            all: true,
            ..ListRequest::default()
        })?;
        let count =
            |wanted: fn(&Status) -> bool| all.iter().filter(|one| wanted(&one.status)).count();
        let running = count(|status| matches!(status, Status::Running { .. }));
        let paused = count(|status| matches!(status, Status::Paused { .. }));
        let name = rustix::system::uname();
        let settings = &self.config().settings;
        Ok(Info {
            containers: all.len(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: all.len() - running - paused,
            images: self.images().store()?.list()?.len(),
            driver: "overlay".to_owned(),
            logging_driver: settings.log.driver.name().to_owned(),
            cgroup_version: Hierarchies::find()?.version().to_owned(),
            kernel_version: name.release().to_string_lossy().into_owned(),
            operating_system: operating_system(),
            os_type: "linux".to_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            mem_total: memory(),
            root: self.layout().root().display().to_string(),
            run_root: self.layout().run_root().display().to_string(),
            name: name.nodename().to_string_lossy().into_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: "wharf-runtime".to_owned(),
            security_options: security_options(),
            warnings: self.warnings(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        let no_reflinks = (!self.has_reflinks()).then(|| {
            format!(
                "{} has no reflinks: a clone copies each file that it has open for writing; \
                 wharf system storage makes a store that has",
                self.layout().root().display()
            )
        });
        no_reflinks.into_iter().chain(apparmor::warning()).collect()
    }
}

fn security_options() -> Vec<String> {
    let apparmor = apparmor::is_active().then_some("name=apparmor");
    let seccomp = "name=seccomp,profile=builtin";
    apparmor
        .into_iter()
        .chain([seccomp])
        .map(str::to_owned)
        .collect()
}

/// `PRETTY_NAME` of os-release(5).
fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram * u64::from(info.mem_unit)
}
