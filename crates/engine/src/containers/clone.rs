//! `clone`: copies of a running container, which go on where it is.
//!
//! The container is written down as a template while it stands still, then it
//! goes on; the clones are made of the template, several at once. All of them
//! run in the end, or none is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use state::template::TEMPLATE_VERSION;
use state::{
    Channel, CloneOf, ClonedVolume, Connections, ContainerConfig, ContainerId, ContainerName,
    MountKind, NetworkMode, PortRequest, TemplateRecord, Timestamp, ToMonitor,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::running;
use super::checkpoint::{make, own_layers};
use super::hook::Hook;
use super::pause::ask;
use super::request::RemoveRequest;
use super::resolve::check_hostname;
use super::restore::Saved;
use super::start::{Locked, Origin};
use super::stop::no_such;
use super::suspend::{Afterwards, write_twice};
use super::{Containers, DumpProgress, observe};
use crate::copy::{Mirror, copy_layers};
use crate::crash::crash_point;
use crate::templates::{Held, Warm};
use crate::{Engine, templates, volumes};

/// More are not made by one call.
const COUNT_MAX: usize = 10_000;

/// So many are made at once: each waits for the kernel more than it computes.
const WORKERS_MAX: usize = 8;

/// Which clones are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneRequest {
    pub count: usize,
    pub names: CloneNames,
    /// In the place of the ports that the container publishes. If absent,
    /// these, on free ports of the host.
    pub ports: Option<Vec<PortRequest>>,
    /// The clone's own id if absent.
    pub hostname: Option<String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// Runs in each by its shell, before its processes go on.
    pub hook: Option<String>,
    /// The template stays, under this name.
    pub keep: Option<ContainerName>,
}

/// How clones are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloneNames {
    Random,
    /// There is one.
    One(ContainerName),
    /// `x-1`, `x-2` …
    Prefix(ContainerName),
}

impl Default for CloneRequest {
    fn default() -> Self {
        Self {
            count: 1,
            names: CloneNames::Random,
            ports: None,
            hostname: None,
            auto_remove: false,
            hook: None,
            keep: None,
        }
    }
}

/// What clones are made of.
struct Place<'a> {
    template: &'a Held,
    record: &'a TemplateRecord,
    /// Of the process that has its memory.
    socket: Option<&'a Path>,
}

impl Containers<'_> {
    /// Makes clones of a running container, which runs on, or of a template
    /// that was kept. They run, or there are none. `tell` hears how the
    /// container is written down.
    pub fn clone_container(
        &self,
        source: &str,
        request: &CloneRequest,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<Vec<ContainerId>> {
        request.check()?;
        let layout = self.engine.layout();
        let id = match self.resolve(source) {
            Ok(id) => id,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Some(template) = Held::named(layout, source)? else {
                    return Err(error);
                };
                if request.keep.is_some() {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!("{source} is a template, which is kept already"),
                    ));
                }
                request.check_ports(&template.record()?.config)?;
                return self.clones_of(&template, request);
            }
            Err(error) => return Err(error),
        };
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(source))?;
        request.check_ports(&observed.config)?;
        if let Some(name) = &request.keep {
            // Again when it gets the name; here before anything stands still.
            templates::check_free(layout, name)?;
        }
        let template = self.template_of(source, request.keep.as_ref(), tell)?;
        self.clones_of(&template, request).map_err(|error| {
            if let Err(second) = template.forget_name() {
                return error.wrap(format!("and the template stays ({second})"));
            }
            error
        })
    }

    /// Writes a running container down.
    pub(super) fn template_of(
        &self,
        container: &str,
        name: Option<&ContainerName>,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<Held> {
        let id = self.resolve(container)?;
        write_twice(|afterwards| {
            let locked = Locked::take(self.engine, id)?;
            let channel = running(self.engine, &id, container)?;
            let held = Held::begin(self.engine.layout())?;
            crash_point!(self.engine, "after template directory");
            locked
                .fill_template(&channel, (&held, name), afterwards, tell)
                .context(|| format!("container {container}"))?;
            Ok(held)
        })
    }

    fn clones_of(&self, template: &Held, request: &CloneRequest) -> Result<Vec<ContainerId>> {
        let record = template.record()?;
        // One clone alone reads its memory itself; several share it. If that
        // cannot be, each has its own.
        let warm = if request.count > 1 || record.name.is_some() {
            Warm::up(self.engine, template).ok()
        } else {
            None
        };
        let socket = warm.as_ref().map(Warm::socket);
        let place = Place {
            template,
            record: &record,
            socket: socket.as_deref(),
        };
        crash_point!(self.engine, "after template process");
        let ids = (0..request.count)
            .map(|_| ContainerId::random())
            .collect::<Result<Vec<_>>>()?;
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let outcomes: Mutex<Vec<(ContainerId, Result<()>)>> = Mutex::new(Vec::new());
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = ids.get(number) else {
                    return;
                };
                let made = self.one_clone(&place, (*id, number), request);
                failed.fetch_or(made.is_err(), Ordering::Relaxed);
                outcomes
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push((*id, made));
            }
        };
        std::thread::scope(|scope| {
            // The first works here.
            for _ in 1..WORKERS_MAX.min(request.count.max(1)) {
                scope.spawn(work);
            }
            work();
        });
        let outcomes = outcomes
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let ids = self.all_or_none(ids, outcomes)?;
        if let (Some(warm), Some(_)) = (warm, &record.name) {
            warm.keep()?;
        }
        Ok(ids)
    }

    /// If one failed, those that run already are removed again.
    fn all_or_none(
        &self,
        ids: Vec<ContainerId>,
        outcomes: Vec<(ContainerId, Result<()>)>,
    ) -> Result<Vec<ContainerId>> {
        let mut made = Vec::new();
        let mut failure: Option<Error> = None;
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => made.push(id),
                Err(error) if failure.is_none() => failure = Some(error),
                Err(_) => {}
            }
        }
        let Some(mut failure) = failure else {
            return Ok(ids);
        };
        for id in made {
            if let Err(second) = self.remove_made(&id) {
                failure = failure.wrap(format!("and a removal failed ({second})"));
            }
        }
        Err(failure)
    }

    fn one_clone(
        &self,
        place: &Place<'_>,
        (id, number): (ContainerId, usize),
        request: &CloneRequest,
    ) -> Result<()> {
        let Place {
            template, record, ..
        } = place;
        let name = request.names.of(number)?;
        let parent = &record.config;
        let change = |config: &mut ContainerConfig| {
            request.apply(config);
            config.clone_of = Some(CloneOf {
                template: *template.id(),
                parent: parent.id,
                parent_name: parent.name.clone(),
            });
            share_volumes(config, template.id(), &record.volumes);
        };
        let saved = Saved {
            config: parent,
            layer: None,
            volumes: BTreeMap::new(),
            change: &change,
            origin: ("clone", parent.name.to_string()),
        };
        template.add_user(&id)?;
        let created = self.create_saved(&saved, (id, name.as_ref()));
        if let Err(error) = created {
            // The template is ours, so nobody takes it away meanwhile.
            templates::release(self.engine.layout(), template.id(), &id)?;
            return Err(error);
        }
        crash_point!(self.engine, "after create");
        let name = self.engine.layout().container_config(&id);
        let config: ContainerConfig = state::Record::read(&name)?;
        let origin = Origin::Memory {
            directory: template.memory(),
            parents: Vec::new(),
            has_connections: false,
            record: None,
            template: place.socket.map(Path::to_owned),
            hook: request.hook.as_ref().map(|command| Hook {
                command: command.clone(),
                env: vec![
                    format!("WHARF_CLONE={}", config.name),
                    format!("WHARF_CLONE_NUMBER={}", number + 1),
                ],
            }),
        };
        let started = Locked::take(self.engine, id)
            .and_then(|locked| locked.start_from(&origin, None).map(drop));
        if let Err(error) = started {
            return Err(match self.remove_made(&id) {
                Err(second) => error.wrap(format!("and its removal failed ({second})")),
                Ok(()) => error,
            });
        }
        Ok(())
    }

    /// Takes away what was just made.
    pub(super) fn remove_made(&self, id: &ContainerId) -> Result<()> {
        let remove = RemoveRequest {
            force: true,
            volumes: true,
        };
        match self.remove(&id.to_string(), remove) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl CloneRequest {
    fn check(&self) -> Result<()> {
        let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
        let least = usize::from(self.keep.is_none());
        if !(least..=COUNT_MAX).contains(&self.count) {
            return invalid("the number of clones is from 1 to 10000");
        }
        if let Some(name) = &self.hostname {
            check_hostname(name)?;
        }
        if self.count == 1 {
            return Ok(());
        }
        if matches!(self.names, CloneNames::One(_)) {
            return invalid("a name is for one clone: several are called with --name-prefix");
        }
        if self.hostname.is_some() {
            return invalid("a host name is for one clone: several are called by their ids");
        }
        let is_fixed = |port: &PortRequest| {
            let fixed = |host: state::PortRange| host.count() <= port.container.count();
            port.host.is_some_and(fixed)
        };
        if self.ports.iter().flatten().any(is_fixed) {
            return invalid(
                "several clones cannot have the same port of the host: name the container's port \
                 alone (-p 80), and each gets a free one",
            );
        }
        Ok(())
    }

    fn check_ports(&self, config: &ContainerConfig) -> Result<()> {
        if self.ports.is_some() && config.network != NetworkMode::Bridge {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "container {} is on no network on which ports are published",
                    config.name
                ),
            ));
        }
        Ok(())
    }

    /// What is another one's in a clone than in the container.
    fn apply(&self, config: &mut ContainerConfig) {
        config.auto_remove = self.auto_remove;
        match &self.ports {
            Some(ports) => {
                config.ports.clone_from(ports);
                config.publish_all = false;
            }
            None => {
                for port in &mut config.ports {
                    port.host = None;
                }
            }
        }
        for endpoint in config.endpoints.iter_mut().flatten() {
            // Who asks for these means the container.
            endpoint.aliases.clear();
        }
        let has_own = !config.namespaces.uts_of_host
            && matches!(config.network, NetworkMode::Bridge | NetworkMode::None);
        if let Some(name) = &self.hostname {
            config.hostname.clone_from(name);
        } else if has_own {
            config.hostname = config.id.short();
        }
    }
}

impl CloneNames {
    /// Of the clone with this number, from 0 on.
    fn of(&self, number: usize) -> Result<Option<ContainerName>> {
        match self {
            Self::Random => Ok(None),
            Self::One(name) => Ok(Some(name.clone())),
            Self::Prefix(prefix) => format!("{prefix}-{}", number + 1).parse().map(Some),
        }
    }
}

impl Locked<'_> {
    fn fill_template(
        self,
        monitor: &Channel,
        (held, name): (&Held, Option<&ContainerName>),
        afterwards: Afterwards,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<()> {
        let engine = self.engine;
        let config = &self.observed.config;
        let volumes = own_volumes(engine, config)?;
        // What does not change any more is copied while it runs.
        let copies = Copies::begin(engine, config, &volumes, &held.path())?;
        crash_point!(engine, "after first copy");
        ask(monitor, &ToMonitor::Hold, &[])?;
        // While nothing of it moves, so that files and memory are of one moment.
        let mut files = Ok(0);
        let mut meanwhile = || files = copies.finish();
        let how = (Connections::KeepInner, afterwards);
        let written = self.write_down(&held.memory(), how, tell, &mut meanwhile);
        let (dumper, memory) = match written {
            Ok(written) => written,
            Err(error) => {
                ask(monitor, &ToMonitor::Release, &[])?;
                return Err(error);
            }
        };
        crash_point!(engine, "after dump");
        let gone_on = dumper.let_go();
        ask(monitor, &ToMonitor::Release, &[])?;
        let files = files?;
        gone_on?;
        crash_point!(engine, "after files");
        held.complete(&TemplateRecord {
            version: TEMPLATE_VERSION,
            created: Timestamp::now(),
            name: name.cloned(),
            config: Box::new(config.clone()),
            memory,
            volumes: volumes.into_iter().map(|volume| volume.target).collect(),
            files,
        })?;
        engine.tell(config, "clone", &[]);
        Ok(())
    }
}

/// A volume that clones get a view of, each their own.
struct OwnVolume {
    target: PathBuf,
    name: String,
    /// What it is made of, lowest first.
    layers: Vec<PathBuf>,
}

/// All volumes that are directories of the store's own, and views of them.
fn own_volumes(engine: &Engine, config: &ContainerConfig) -> Result<Vec<OwnVolume>> {
    let layout = engine.layout();
    let mut found: Vec<OwnVolume> = Vec::new();
    for mount in &config.mounts {
        let (name, layers) = match &mount.kind {
            MountKind::Volume(volume) if volumes::is_own(layout, &volume.name)? => {
                (&volume.name, vec![volumes::data(layout, &volume.name)])
            }
            MountKind::Cloned(volume) => {
                let layers = volumes::layers_of_clone(layout, &config.id, volume);
                (&volume.name, layers)
            }
            _ => continue,
        };
        let unsupported = |why: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("volume {name} {why}, which a clone cannot have"),
            ))
        };
        if found.iter().any(|other| other.layers == layers) {
            return unsupported("is mounted in two places");
        }
        if mount.id_map.is_some() {
            return unsupported("is mounted with a map of ids");
        }
        found.push(OwnVolume {
            target: mount.target.clone(),
            name: name.clone(),
            layers,
        });
    }
    Ok(found)
}

/// The mounts at `targets` become views of the template's copies, which are
/// in that order.
fn share_volumes(config: &mut ContainerConfig, template: &ContainerId, targets: &[PathBuf]) {
    for mount in &mut config.mounts {
        let number = targets.iter().position(|target| *target == mount.target);
        let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else {
            continue;
        };
        let (name, subpath) = match &mount.kind {
            MountKind::Volume(volume) => (volume.name.clone(), volume.subpath.clone()),
            MountKind::Cloned(volume) => (volume.name.clone(), volume.subpath.clone()),
            _ => continue,
        };
        mount.kind = MountKind::Cloned(ClonedVolume {
            name,
            template: *template,
            number,
            subpath,
        });
    }
}

/// Copies of a container's files, which are up to date once it stands.
struct Copies {
    mirrors: Vec<Mirror>,
    /// Bytes of what could not change.
    fixed: u64,
}

impl Copies {
    fn begin(
        engine: &Engine,
        config: &ContainerConfig,
        volumes: &[OwnVolume],
        into: &Path,
    ) -> Result<Self> {
        let mut copies = Self {
            mirrors: Vec::new(),
            fixed: 0,
        };
        copies
            .add(&own_layers(engine, config)?, into)
            .context(|| "copy the writable layer")?;
        for (number, volume) in volumes.iter().enumerate() {
            if number == 0 {
                make(&into.join("volumes"))?;
            }
            let into = into.join("volumes").join(number.to_string());
            make(&into)?;
            copies
                .add(&volume.layers, &into)
                .context(|| format!("copy volume {}", volume.name))?;
        }
        Ok(copies)
    }

    /// Of `layers`, the lowest first, the topmost alone may change.
    fn add(&mut self, layers: &[PathBuf], into: &Path) -> Result<()> {
        let Some((top, below)) = layers.split_last() else {
            return Ok(());
        };
        if !below.is_empty() {
            make(&into.join("below"))?;
            self.fixed += copy_layers(below, &into.join("below"))?;
        }
        make(&into.join("layer"))?;
        self.mirrors.push(Mirror::begin(top, &into.join("layer"))?);
        Ok(())
    }

    /// Brings them up to date; may be done again. Gives the bytes of all files.
    fn finish(&self) -> Result<u64> {
        let mut bytes = self.fixed;
        for mirror in &self.mirrors {
            bytes += mirror.finish()?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(texts: &[&str]) -> Vec<PortRequest> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn several_clones_share_no_name_and_no_port() {
        let several = CloneRequest {
            count: 2,
            ..CloneRequest::default()
        };
        let wrong = |request: &CloneRequest| request.check().unwrap_err().to_string();
        several.check().unwrap();
        let with_ports = |texts: &[&str]| CloneRequest {
            ports: Some(ports(texts)),
            ..several.clone()
        };
        with_ports(&["80", "8000-8009:80"]).check().unwrap();
        assert!(wrong(&with_ports(&["8080:80"])).contains("same port of the host"));
        let named = CloneRequest {
            names: CloneNames::One("x".parse().unwrap()),
            ..several.clone()
        };
        assert!(wrong(&named).contains("--name-prefix"));
        let called = CloneRequest {
            hostname: Some("db".into()),
            ..several
        };
        assert!(wrong(&called).contains("host name is for one"));
        for count in [0, 10_001] {
            let request = CloneRequest {
                count,
                ..CloneRequest::default()
            };
            assert!(wrong(&request).contains("from 1 to"));
        }
    }

    #[test]
    fn a_clone_is_called_by_its_own_id_and_takes_nobodys_ports() {
        let mut config = crate::containers::test_config();
        config.ports = ports(&["127.0.0.1:8080:80"]);
        CloneRequest::default().apply(&mut config);
        assert_eq!(config.hostname, config.id.short());
        assert_eq!(config.ports, ports(&["127.0.0.1::80"]));
        config.hostname = "host".into();
        config.network = NetworkMode::Host;
        CloneRequest::default().apply(&mut config);
        assert_eq!(config.hostname, "host");
    }
}
