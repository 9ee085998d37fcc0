//! A folder as the disk has it: what was synced is there; what was not may be there, in any part.
//!
//! The rules are those that a program may count on: a sync of a file makes its content and its name durable, a sync of
//! a folder the names in it. Everything else waits, and a power cut takes what it likes: whole writes, or single sectors
//! of them, or the tail of the last one; a name made, moved or removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::dice::Dice;
use crate::trace::Operation;

const SECTOR_BYTES: u64 = 512;
/// What SQLite's shared memory has at least.
const SHARED_MEMORY_BYTES: usize = 32_768;

/// A change of a file that was not synced.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
    Extend(u64),
}

#[derive(Clone, Debug, Default)]
struct Object {
    /// As it was synced.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A change of a name that was not synced, of the object with this number.
#[derive(Clone, Debug)]
enum NameChange {
    Made(PathBuf, usize),
    Removed(PathBuf, usize),
    Renamed(PathBuf, PathBuf, usize),
}

impl NameChange {
    const fn object(&self) -> usize {
        match self {
            Self::Made(_, object) | Self::Removed(_, object) | Self::Renamed(_, _, object) => *object,
        }
    }

    fn touches(&self, folder: &Path) -> bool {
        match self {
            Self::Made(path, _) | Self::Removed(path, _) => path.parent() == Some(folder),
            Self::Renamed(from, to, _) => from.parent() == Some(folder) || to.parent() == Some(folder),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made(path, object) => {
                names.insert(path.clone(), *object);
            }
            Self::Removed(path, object) => {
                if names.get(path) == Some(object) {
                    names.remove(path);
                }
            }
            Self::Renamed(from, to, object) => {
                if names.get(from) == Some(object) {
                    names.remove(from);
                }
                names.insert(to.clone(), *object);
            }
        }
    }
}

/// What a descriptor is open on.
#[derive(Clone, Debug)]
enum Open {
    File(usize),
    Folder(PathBuf),
}

/// The disk under one folder.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    objects: Vec<Object>,
    /// As the running process sees them.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    open: HashMap<i32, Open>,
}

impl Disk {
    /// Everything in `root` is durable.
    pub(crate) fn load(root: &Path) -> Result<Self, String> {
        let mut disk = Self {
            root: root.to_owned(),
            objects: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            folders: BTreeSet::new(),
            open: HashMap::new(),
        };
        disk.load_folder(root)?;
        disk.durable_names.clone_from(&disk.names);
        Ok(disk)
    }

    fn load_folder(&mut self, folder: &Path) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
        if !folder.exists() {
            return Ok(());
        }
        self.folders.insert(folder.to_owned());
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.is_dir() {
                self.load_folder(&path)?;
            } else if !is_shared_memory(&path) {
                let durable = std::fs::read(&path).map_err(wrong)?;
                self.objects.push(Object { durable, pending: Vec::new() });
                self.names.insert(path, self.objects.len() - 1);
            }
        }
        Ok(())
    }

    /// Takes over what the process did.
    ///
    /// # Errors
    /// When the operation does not fit what was done before: the trace has a hole.
    pub(crate) fn follow(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Opened { fd, path, is_folder: true, .. } => {
                self.open.insert(*fd, Open::Folder(path.clone()));
            }
            Operation::Opened { fd, path, is_created, is_emptied, .. } => {
                let known = self.names.get(path).copied();
                let object = match known {
                    Some(object) => object,
                    None if *is_created => {
                        self.objects.push(Object::default());
                        let object = self.objects.len() - 1;
                        self.names.insert(path.clone(), object);
                        self.pending_names.push(NameChange::Made(path.clone(), object));
                        object
                    }
                    None => return Err(format!("{} was opened before it was made", path.display())),
                };
                if *is_emptied && known.is_some() {
                    self.objects[object].pending.push(Change::Resize(0));
                }
                self.open.insert(*fd, Open::File(object));
            }
            Operation::Closed { fd } => {
                self.open.remove(fd);
            }
            Operation::Wrote { fd, offset, data } => self.change(*fd, Change::Write(*offset, data.clone()))?,
            Operation::Resized { fd, length } => self.change(*fd, Change::Resize(*length))?,
            Operation::Extended { fd, length } => self.change(*fd, Change::Extend(*length))?,
            Operation::Synced { fd } => match self.open.get(fd).cloned() {
                Some(Open::File(object)) => {
                    self.objects[object].sync();
                    self.keep_names(|change| change.object() == object);
                }
                Some(Open::Folder(folder)) => self.keep_names(|change| change.touches(&folder)),
                None => return Err(format!("descriptor {fd} was synced and never opened")),
            },
            Operation::Removed { path } => {
                if let Some(object) = self.names.remove(path) {
                    self.pending_names.push(NameChange::Removed(path.clone(), object));
                }
            }
            Operation::Renamed { from, to } => {
                let object = self.names.remove(from);
                let object = object.ok_or_else(|| format!("{} was renamed and never made", from.display()))?;
                self.names.insert(to.clone(), object);
                self.pending_names.push(NameChange::Renamed(from.clone(), to.clone(), object));
            }
            // Kept: an empty folder harms nobody, and a missing one is made again.
            Operation::MadeFolder { path } => {
                self.folders.insert(path.clone());
            }
            Operation::Said(_) | Operation::Cut => {}
        }
        Ok(())
    }

    fn change(&mut self, fd: i32, change: Change) -> Result<(), String> {
        let Some(Open::File(object)) = self.open.get(&fd) else {
            return Err(format!("descriptor {fd} was written and never opened"));
        };
        self.objects[*object].pending.push(change);
        Ok(())
    }

    /// Makes the changes of names that `is_kept` durable.
    fn keep_names(&mut self, is_kept: impl Fn(&NameChange) -> bool) {
        for change in std::mem::take(&mut self.pending_names) {
            if is_kept(&change) {
                change.apply(&mut self.durable_names);
            } else {
                self.pending_names.push(change);
            }
        }
    }

    /// Bytes that were written and not synced.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let written = |change: &Change| if let Change::Write(_, data) = change { data.len() as u64 } else { 0 };
        self.objects.iter().flat_map(|object| &object.pending).map(written).sum()
    }

    /// Cuts the power and writes what the disk then has into the folder, in place of what is there.
    pub(crate) fn cut(mut self, dice: &mut Dice) -> Result<(), String> {
        let mut names = self.durable_names;
        match dice.below(3) {
            0 => {}
            1 => self.pending_names.iter().for_each(|change| change.apply(&mut names)),
            _ => {
                let order = dice.hits(50);
                let first = dice.below(self.pending_names.len() as u64 + 1) as usize;
                for (at, change) in self.pending_names.iter().enumerate() {
                    if if order { at < first } else { dice.hits(50) } {
                        change.apply(&mut names);
                    }
                }
            }
        }
        let wrong = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("cannot write {path}: {error}")
        };
        if self.root.exists() {
            std::fs::remove_dir_all(&self.root).map_err(wrong(&self.root))?;
        }
        for folder in &self.folders {
            std::fs::create_dir_all(folder).map_err(wrong(folder))?;
        }
        for (path, object) in &names {
            let content = self.objects[*object].cut(dice);
            std::fs::write(path, content).map_err(wrong(path))?;
            if is_database(path) && dice.hits(30) {
                let mut shared = path.as_os_str().to_owned();
                shared.push("-shm");
                std::fs::write(&shared, vec![0; SHARED_MEMORY_BYTES]).map_err(wrong(Path::new(&shared)))?;
            }
        }
        Ok(())
    }
}

impl Object {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// What the disk has after the power went.
    fn cut(&mut self, dice: &mut Dice) -> Vec<u8> {
        let mut content = std::mem::take(&mut self.durable);
        let pending = std::mem::take(&mut self.pending);
        match dice.below(5) {
            0 => {}
            1 => pending.iter().for_each(|change| change.apply(&mut content)),
            2 => {
                let first = dice.below(pending.len() as u64 + 1) as usize;
                pending[..first].iter().for_each(|change| change.apply(&mut content));
            }
            3 => {
                // The last write that came through did so in part.
                let first = dice.below(pending.len() as u64 + 1) as usize;
                pending[..first].iter().for_each(|change| change.apply(&mut content));
                if let Some(Change::Write(offset, data)) = pending.get(first) {
                    let bytes = dice.below(data.len() as u64 + 1) as usize;
                    Change::Write(*offset, data[..bytes].to_vec()).apply(&mut content);
                }
            }
            _ => {
                let percent = [10, 50, 90][dice.below(3) as usize];
                for change in &pending {
                    match change {
                        Change::Write(offset, data) => {
                            for (offset, piece) in sectors(*offset, data) {
                                if dice.hits(percent) {
                                    Change::Write(offset, piece.to_vec()).apply(&mut content);
                                }
                            }
                            // The file's length may be there before its content.
                            if dice.hits(20) {
                                Change::Extend(offset + data.len() as u64).apply(&mut content);
                            }
                        }
                        other if dice.hits(percent) => other.apply(&mut content),
                        _ => {}
                    }
                }
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                content[from..to].copy_from_slice(data);
            }
            Self::Resize(length) => content.resize(*length as usize, 0),
            Self::Extend(length) => content.resize(content.len().max(*length as usize), 0),
        }
    }
}

/// A write in pieces that end where sectors end.
fn sectors(offset: u64, data: &[u8]) -> Vec<(u64, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let bytes = ((SECTOR_BYTES - at % SECTOR_BYTES) as usize).min(rest.len());
        let (piece, after) = rest.split_at(bytes);
        pieces.push((at, piece));
        at += bytes as u64;
        rest = after;
    }
    pieces
}

fn is_shared_memory(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"-shm")
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sqlite")
}
