//! What time it was: the timekeeper, found by its values where its place in `tk_core` is not told by the types.

use crate::address::VirtAddr;
use crate::facts::{ReadError, Time};
use crate::symbols::{Context, Object};

/// The moment of capture and the moment of boot.
pub struct Clock {
    pub now: Time,
    pub boot: Time,
}

/// Sane years for a wall clock: 1990 to 2200.
const SECONDS: std::ops::Range<u64> = 631_152_000..7_258_118_400;

impl Clock {
    pub fn read(context: Context<'_>) -> Result<Self, ReadError> {
        let core = context.symbol("tk_core").or_else(|_| context.symbol("timekeeper_data"))?;
        // The timekeeper follows a sequence counter whose size depends on the configuration.
        let keepers = (0..=128).step_by(8).filter_map(|at| context.object("timekeeper", core.offset(at)).ok());
        let keeper = keepers.into_iter().find(|keeper| plausible(keeper).unwrap_or(false));
        Self::from(&keeper.ok_or(ReadError::Implausible("timekeeper"))?)
    }

    fn from(keeper: &Object<'_>) -> Result<Self, ReadError> {
        let mono = keeper.inner("tkr_mono")?;
        let fraction = i128::from(mono.uint("xtime_nsec")? >> mono.uint("shift")?.min(63));
        let now = i128::from(keeper.uint("xtime_sec")?) * 1_000_000_000 + fraction;
        // Wall clock minus monotonic, and time suspended: together they give the wall clock at boot.
        let boot = i128::from(keeper.int("offs_real")?) - i128::from(keeper.int("offs_boot")?);
        let time = |nanoseconds| Time::from_nanoseconds(nanoseconds, 9).ok_or(ReadError::Implausible("time"));
        Ok(Self { now: time(now)?, boot: time(boot)? })
    }
}

/// A timekeeper points to a clock source with a name, and its wall clock and boot time agree with each other.
fn plausible(keeper: &Object<'_>) -> Result<bool, ReadError> {
    let context = keeper.context();
    let source: VirtAddr = keeper.inner("tkr_mono")?.pointer("clock")?;
    if !source.is_kernel() || !SECONDS.contains(&keeper.uint("xtime_sec")?) {
        return Ok(false);
    }
    let name = context.object("clocksource", source)?.pointer("name")?;
    let name = context.space.text(name, 32)?;
    let clock = Clock::from(keeper)?;
    Ok(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) && clock.boot <= clock.now)
}
