//! The one health that windows are shown of the history: the worse of whether it can be written and whether there is
//! room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sightglass_protocol::{Health, HealthState, UtcNanos};

use crate::live::Live;

/// As windows and records name it.
pub(crate) const SOURCE: &str = "history";

/// What the recorder and the disk watch have to say.
pub(crate) struct StorageHealth {
    live: Arc<Live>,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// Why it cannot be written.
    writing: Option<Health>,
    /// Why there is too little room.
    room: Option<Health>,
}

impl StorageHealth {
    pub(crate) fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { live, standing: Mutex::default() })
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every change is a whole assignment.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It cannot be written since `since`.
    pub(crate) fn cannot_be_written(&self, since: UtcNanos, reason: String) {
        let mut standing = self.standing();
        standing.writing = Some(health(HealthState::Failure, since, reason));
        self.show(&standing, since);
    }

    /// It can be written again.
    pub(crate) fn can_be_written(&self, since: UtcNanos) {
        let mut standing = self.standing();
        standing.writing = None;
        self.show(&standing, since);
    }

    /// How it stands with the room; a good state clears the alarm.
    pub(crate) fn room(&self, health: Health) {
        let since = health.since;
        let mut standing = self.standing();
        standing.room = (health.state != HealthState::Good).then_some(health);
        self.show(&standing, since);
    }

    fn show(&self, standing: &Standing, since: UtcNanos) {
        let good = || health(HealthState::Good, since, "can be written, and there is room".to_owned());
        let worst = standing.writing.clone().or_else(|| standing.room.clone()).unwrap_or_else(good);
        self.live.set_health(&worst);
    }
}

/// A state of the history.
pub(crate) fn health(state: HealthState, since: UtcNanos, reason: String) -> Health {
    Health { subject: None, source: SOURCE.to_owned(), state, since, reason }
}
