//! Asking a device again and again: when, what to do when it does not answer, and what that says of its values.
//!
//! A time-out ends the connection, since a late answer over RTU would be taken for that to the next request. A unit that
//! stays silent is asked less often, by one read only, so that the other units behind a gateway are not held back.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use sightglass_plant::{ModbusFraming, ModbusTable, WordOrder};
use sightglass_protocol::{HealthState, Quality, Sample, TagId, TimeSource, UtcNanos};
use tokio::{net::TcpStream, time::timeout};
use tokio_modbus::{
    ExceptionCode, Request, Response, Slave,
    client::{Client, Context, rtu, tcp},
    slave::SlaveContext,
};

use super::{
    decode::{Answer, decode},
    pace::{MISSED_SHARE, Pace, periods_late},
    request::{Block, Limits, Wanted, plan},
};
use crate::live::{Backoff, Faults, Outbox, now};

/// A unit is held for silent after so many time-outs in a row.
const UNIT_TIMEOUTS_MAX: u32 = 2;
/// A shorter wait for room in the queue is none.
const HELD_BACK_MIN: Duration = Duration::from_millis(10);

/// What to read, and how.
#[derive(Clone, Debug)]
pub(crate) struct PollSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) framing: ModbusFraming,
    pub(crate) order: WordOrder,
    pub(crate) timeout: Duration,
    pub(crate) pause: Duration,
    pub(crate) limits: Limits,
    pub(crate) wanted: Vec<Wanted>,
    /// The tag of each wanted point.
    pub(crate) tags: Vec<TagId>,
}

/// What can be at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Connection,
    Unit(u8),
    /// A read, by the first of its points.
    Read(usize),
    Point(usize),
    Pace,
}

/// Why a read gave nothing.
enum ReadError {
    /// The device answered that it cannot.
    Exception(ExceptionCode),
    TimedOut,
    /// What came back is no answer, or the connection is gone.
    Broken(String),
}

/// How a connection ended.
enum Ended {
    /// By choice, after a time-out of one unit: its answer may still come.
    TimedOut,
    Lost(String),
}

/// A read and when it is due.
struct Scheduled {
    block: Block,
    due: Instant,
}

#[derive(Default)]
struct Unit {
    timeouts: u32,
    backoff: Backoff,
    /// While it is silent: when to ask it again.
    silent_until: Option<Instant>,
}

struct Poller {
    settings: PollSettings,
    outbox: Arc<Outbox>,
    reads: Vec<Scheduled>,
    units: HashMap<u8, Unit>,
    faults: Faults<Fault>,
    /// Whether every point was said to be bad since the last answer.
    is_lost: bool,
    /// Whether the connection was lost since it was last made.
    is_new: bool,
    backoff: Backoff,
    pace: Pace,
}

/// Reads for as long as the element runs.
pub(crate) async fn run(settings: PollSettings, outbox: Arc<Outbox>) {
    let started = Instant::now();
    let blocks = plan(&settings.wanted, settings.limits);
    let mut poller = Poller {
        reads: blocks.into_iter().map(|block| Scheduled { block, due: started }).collect(),
        settings,
        outbox,
        units: HashMap::new(),
        faults: Faults::new(),
        is_lost: false,
        is_new: true,
        backoff: Backoff::default(),
        pace: Pace::new(started),
    };
    loop {
        let ended = match poller.connect().await {
            Ok(connection) => poller.read_until_ended(connection).await,
            Err(reason) => Ended::Lost(reason),
        };
        if let Ended::Lost(reason) = ended {
            poller.lost(reason).await;
            tokio::time::sleep(poller.backoff.next()).await;
        }
    }
}

impl Poller {
    fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    async fn connect(&self) -> Result<Context, String> {
        const CHECK: &str = "check its power, its cable and its address";
        let settings = &self.settings;
        let stream = match timeout(settings.timeout, TcpStream::connect((settings.host.as_str(), settings.port))).await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("cannot connect to {}: {error}; {CHECK}", self.address())),
            Err(_) => {
                let within = settings.timeout;
                return Err(format!("cannot connect to {} within {within:?}; {CHECK}", self.address()));
            }
        };
        // A request is one small packet that must not wait for another.
        stream
            .set_nodelay(true)
            .map_err(|error| format!("cannot use the connection to {}: {error}", self.address()))?;
        Ok(match settings.framing {
            ModbusFraming::Tcp => tcp::attach(stream),
            ModbusFraming::Rtu => rtu::attach(stream),
        })
    }

    async fn read_until_ended(&mut self, mut connection: Context) -> Ended {
        self.faults.clear(&Fault::Connection);
        if std::mem::take(&mut self.is_new) {
            // What was missed meanwhile is missed.
            let start = Instant::now();
            self.reads.iter_mut().for_each(|read| read.due = start);
            self.units.clear();
        }
        loop {
            let Some((at, due)) = self.next_read() else {
                // Without a single point there is nothing to do but to stay.
                return std::future::pending().await;
            };
            self.sleep_until(due).await;
            let block = self.reads[at].block.clone();
            let asked = Instant::now();
            let outcome = self.read(&mut connection, &block).await;
            let answered = Instant::now();
            // The device read its registers at some time between; the middle is off by half of it at most.
            let arrival = now();
            let half_trip = (answered - asked) / 2;
            let time = arrival - i64::try_from(half_trip.as_nanos()).unwrap_or(0);
            let ended = match outcome {
                Ok(answer) => {
                    self.take(&block, &answer, time).await;
                    None
                }
                Err(ReadError::Exception(code)) => self.refused(at, &block, code).await,
                Err(ReadError::TimedOut) => {
                    self.timed_out(&block).await;
                    Some(Ended::TimedOut)
                }
                Err(ReadError::Broken(reason)) => Some(Ended::Lost(reason)),
            };
            self.reschedule(at, &block);
            self.tell_news();
            if let Some(ended) = ended {
                return ended;
            }
            if !self.settings.pause.is_zero() {
                tokio::time::sleep(self.settings.pause).await;
            }
        }
    }

    /// The read that is due first. Of a unit that is silent only its first one counts.
    fn next_read(&self) -> Option<(usize, Instant)> {
        let silent_until = |unit: u8| self.units.get(&unit).and_then(|unit| unit.silent_until);
        let due = |(at, read): (usize, &Scheduled)| match silent_until(read.block.unit) {
            None => Some((at, read.due)),
            Some(until) => {
                let is_first = self.reads[..at].iter().all(|other| other.block.unit != read.block.unit);
                is_first.then_some((at, until))
            }
        };
        self.reads.iter().enumerate().filter_map(due).min_by_key(|(_, due)| *due)
    }

    /// Waits, and tells meanwhile what had to rest.
    async fn sleep_until(&mut self, due: Instant) {
        const LOOK: Duration = Duration::from_millis(500);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(LOOK)).await;
            if left <= LOOK {
                return;
            }
            self.tell_news();
        }
    }

    async fn read(&self, connection: &mut Context, block: &Block) -> Result<Answer, ReadError> {
        let (start, count) = (block.start, block.count);
        let request = match block.table {
            ModbusTable::Coil => Request::ReadCoils(start, count),
            ModbusTable::DiscreteInput => Request::ReadDiscreteInputs(start, count),
            ModbusTable::HoldingRegister => Request::ReadHoldingRegisters(start, count),
            ModbusTable::InputRegister => Request::ReadInputRegisters(start, count),
        };
        connection.set_slave(Slave(block.unit));
        let response = match timeout(self.settings.timeout, connection.call(request)).await {
            Err(_) => return Err(ReadError::TimedOut),
            Ok(Err(error)) => {
                let address = self.address();
                return Err(ReadError::Broken(format!("{address} gives no answer that can be read: {error}")));
            }
            Ok(Ok(Err(code))) => return Err(ReadError::Exception(code)),
            Ok(Ok(Ok(response))) => response,
        };
        let wrong_length = |got: usize, wanted: usize| {
            let what = if block.table.is_bits() { "bits" } else { "registers" };
            ReadError::Broken(format!("{} answers with {got} {what} instead of {wanted}", self.address()))
        };
        match response {
            // Bits come in whole bytes.
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) if block.table.is_bits() => {
                let wanted = usize::from(count).next_multiple_of(8);
                if bits.len() == wanted { Ok(Answer::Bits(bits)) } else { Err(wrong_length(bits.len(), wanted)) }
            }
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) if !block.table.is_bits() => {
                let wanted = usize::from(count);
                if words.len() == wanted {
                    Ok(Answer::Registers(words))
                } else {
                    Err(wrong_length(words.len(), wanted))
                }
            }
            _ => Err(ReadError::Broken(format!("{} answers another question", self.address()))),
        }
    }

    async fn take(&mut self, block: &Block, answer: &Answer, time: UtcNanos) {
        self.answers(block.unit);
        self.faults.clear(&Fault::Read(block.points[0]));
        let mut samples = Vec::with_capacity(block.points.len());
        for &at in &block.points {
            let point = &self.settings.wanted[at].point;
            let (value, quality) = match decode(point, self.settings.order, block.start, answer) {
                Ok(value) => {
                    self.faults.clear(&Fault::Point(at));
                    (value, Quality::Good)
                }
                Err(reason) => {
                    let place = format!("{} {} of unit {}", point.table.word(), point.register, block.unit);
                    let reason = format!("{place}: {reason}; check its type and word order");
                    self.faults.set(Fault::Point(at), HealthState::OutOfSpecification, reason);
                    (f64::NAN, Quality::Bad)
                }
            };
            samples.push(self.sample(at, time, value, quality));
        }
        let handed_over = Instant::now();
        self.outbox.send(time, samples).await;
        // That the line is slow is not the device's fault.
        let held_back = handed_over.elapsed();
        if held_back > HELD_BACK_MIN {
            self.reads.iter_mut().for_each(|read| read.due += held_back);
        }
    }

    /// Notes that a unit, and with it the connection, answers.
    fn answers(&mut self, unit: u8) {
        self.is_lost = false;
        self.backoff.reset();
        self.faults.clear(&Fault::Connection);
        self.faults.clear(&Fault::Unit(unit));
        if self.units.remove(&unit).is_some_and(|unit| unit.silent_until.is_some()) {
            let now = Instant::now();
            self.reads.iter_mut().filter(|read| read.block.unit == unit).for_each(|read| read.due = now);
        }
        self.faults.works(format!("{} answers", self.address()));
    }

    /// The device says that it cannot.
    async fn refused(&mut self, at: usize, block: &Block, code: ExceptionCode) -> Option<Ended> {
        let place = block.place();
        if matches!(code, ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice) {
            self.answers_for_another();
            self.silent(block.unit, format!("the gateway does not reach unit {}: {}", block.unit, said(code))).await;
            return None;
        }
        self.answers(block.unit);
        // Perhaps one of its registers only does not exist, or so many at once are too many.
        let may_be_part = matches!(code, ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue);
        if may_be_part && let Some([first, second]) = block.halves(&self.settings.wanted) {
            let due = Instant::now();
            self.faults.clear(&Fault::Read(block.points[0]));
            self.reads[at].block = first;
            self.reads.push(Scheduled { block: second, due });
            return None;
        }
        let reason = format!("{place}: the device refuses to give it: {}", said(code));
        self.faults.set(Fault::Read(block.points[0]), HealthState::Failure, reason);
        self.all_bad(block.points.clone()).await;
        None
    }

    /// A gateway answers, though not the unit that was asked.
    fn answers_for_another(&mut self) {
        self.is_lost = false;
        self.backoff.reset();
        self.faults.clear(&Fault::Connection);
        self.faults.works(format!("{} answers", self.address()));
    }

    async fn timed_out(&mut self, block: &Block) {
        let within = self.settings.timeout;
        let unit = self.units.entry(block.unit).or_default();
        unit.timeouts += 1;
        if unit.timeouts >= UNIT_TIMEOUTS_MAX {
            let address = self.address();
            let reason = format!("unit {} at {address} does not answer within {within:?}; check its power", block.unit);
            self.silent(block.unit, reason).await;
        } else {
            let reason = format!("{}: no answer within {within:?}", block.place());
            self.faults.set(Fault::Read(block.points[0]), HealthState::Failure, reason);
            self.all_bad(block.points.clone()).await;
        }
    }

    /// A unit is not there: all of its points are bad at once, and it is asked less often.
    async fn silent(&mut self, number: u8, reason: String) {
        let unit = self.units.entry(number).or_default();
        let was_silent = unit.silent_until.is_some();
        unit.silent_until = Some(Instant::now() + unit.backoff.next());
        self.faults.set(Fault::Unit(number), HealthState::Failure, reason);
        if !was_silent {
            let of_unit = |at: &usize| self.settings.wanted[*at].unit == number;
            let points: Vec<usize> = (0..self.settings.wanted.len()).filter(of_unit).collect();
            points.iter().for_each(|at| {
                self.faults.clear(&Fault::Read(*at));
                self.faults.clear(&Fault::Point(*at));
            });
            self.all_bad(points).await;
        }
    }

    /// The connection is gone: every point is bad at once.
    async fn lost(&mut self, reason: String) {
        self.is_new = true;
        self.faults.retain(|_| false);
        self.faults.set(Fault::Connection, HealthState::Failure, reason);
        self.tell_news();
        if !std::mem::replace(&mut self.is_lost, true) {
            self.all_bad((0..self.settings.wanted.len()).collect()).await;
        }
    }

    async fn all_bad(&self, points: Vec<usize>) {
        let time = now();
        let samples = points.into_iter().map(|at| self.sample(at, time, f64::NAN, Quality::Bad)).collect();
        self.outbox.send(time, samples).await;
    }

    fn sample(&self, at: usize, time: UtcNanos, value: f64, quality: Quality) -> Sample {
        Sample { tag: self.settings.tags[at], time, value, quality, time_source: TimeSource::Arrival }
    }

    /// When the read that was just made is due again: at the next multiple of its period that is still to come.
    fn reschedule(&mut self, at: usize, asked: &Block) {
        let read = &mut self.reads[at];
        let now = Instant::now();
        if read.block != *asked {
            // It was halved, and its halves are still to be read.
            read.due = now;
            return;
        }
        let period = asked.period.max(Duration::from_millis(1));
        let late = periods_late(read.due, period, now);
        read.due += period.saturating_mul(late.saturating_add(1));
        let is_silent =
            self.units.get(&asked.unit).is_some_and(|unit| unit.timeouts > 0 || unit.silent_until.is_some());
        if !is_silent {
            self.judge_pace(late, now);
        }
    }

    fn judge_pace(&mut self, missed: u32, now: Instant) {
        match self.pace.note(missed, now) {
            None => {}
            Some(false) => self.faults.clear(&Fault::Pace),
            Some(true) => {
                let reason = format!(
                    "{} answers too slowly for what is asked: more than one of {MISSED_SHARE} reads is left out; give \
                     tags longer periods, or read fewer",
                    self.address()
                );
                self.faults.set(Fault::Pace, HealthState::OutOfSpecification, reason);
            }
        }
    }

    fn tell_news(&mut self) {
        if let Some((state, reason)) = self.faults.news(Instant::now()) {
            self.outbox.tell(now(), state, reason);
        }
    }
}

/// What an exception code says (section 7), and what to do.
fn said(code: ExceptionCode) -> String {
    let number = u8::from(code);
    let advice = match code {
        ExceptionCode::IllegalFunction => "it does not know this table; choose another",
        ExceptionCode::IllegalDataAddress => "it has no such register; check the number, which counts from 0",
        ExceptionCode::IllegalDataValue => "it does not give so many at once; lower block_registers",
        ExceptionCode::ServerDeviceFailure => "it has failed; look at the device",
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => "it is busy; ask it less often",
        ExceptionCode::GatewayPathUnavailable => "look at the gateway's settings",
        ExceptionCode::GatewayTargetDevice => "check the unit's number, its power and its cable",
        _ => "look into the device's manual",
    };
    format!("exception {number} ({code}); {advice}")
}
