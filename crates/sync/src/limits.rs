//! Every bound of the protocol, with its reason.

/// Protocol versions that this code speaks, ascending. 1: unequal frontiers are listed whole. 2: sketches first, and
/// fillings.
pub const VERSIONS: &[u32] = &[1, 2];
/// Most versions in a Hello: one a year for longer than any node runs unpatched.
pub const VERSIONS_MAX: usize = 16;
/// Most heads in one Frontier or Have: 512 take some 27 KB, one comfortable message.
pub const HEADS_PER_FRAME_MAX: usize = 512;
/// Most logs that a node holds or believes of a peer: 500 members, and as many again that left during the season.
pub const LOGS_MAX: usize = 1_024;
/// Most buckets of a sketch: one for each of 500 logs.
pub const SKETCH_BUCKETS_MAX: usize = 512;
/// Their 12 bits each, bytes.
pub const SKETCH_BYTES_MAX: usize = SKETCH_BUCKETS_MAX * 12 / 8;
/// What a peer may send unasked when lists have been exchanged, bytes: a night's absence from a street; the rest is wanted.
pub const FILL_BYTES: u32 = 256 * 1_024;
/// A filling is waited for this long, ms: a round trip and some disk. Meanwhile nothing else is asked for.
pub const FILL_WAIT_MS: i64 = 1_000;
/// After a filling that did not end none is let in for this long, ms, so that no peer holds up a catch-up for more than
/// a sixtieth of the time.
pub const FILL_PAUSE_MS: i64 = 60_000;
/// Most unanswered wants on a link: enough to hide a round trip of 200 ms at 10 MB/s, 2 MiB in flight at most.
pub const WANTS_PER_LINK_MAX: usize = 8;
/// Most unanswered wants over all links, so that a node with many links does not buffer more than 8 MiB of answers.
pub const WANTS_MAX: usize = 32;
/// What one want asks for, bytes: some 800 records of usual size, a few runs, so that a signature check is shared.
pub const WANT_BYTES: u32 = 256 * 1_024;
/// The most that a peer may ask for in one want, bytes.
pub const WANT_BYTES_MAX: u32 = 1_024 * 1_024;
/// The largest run, bytes: whoever makes runs of its own log cuts them below this, so that a message (at most
/// [`WANT_BYTES_MAX`] and one run) stays under the 4 MiB that gRPC takes by default.
pub const RUN_BYTES_MAX: usize = 1_024 * 1_024;
/// What one push reads, bytes: a live record has under 1 KB, a burst fits; more is better wanted than pushed.
pub const PUSH_BYTES: u32 = 64 * 1_024;
/// Most pushed and not yet acknowledged bytes on a link; beyond it records are only announced.
pub const PUSHED_BYTES_MAX: usize = 256 * 1_024;
/// Most batches of one log that wait for the ingest ladder; later pushes are dropped and wanted again.
pub const INGESTS_PER_SHOP_MAX: usize = 32;
/// With so many batches of one log at the ingest ladder, no more of it is asked for: one is at the disk, one waits, one is
/// on the line, so that a single log keeps disk and line at work.
pub const INTAKES_AHEAD: usize = 3;
/// Above this many bytes waiting for the ingest ladder, pushes are dropped (and wanted later) and nothing is asked for.
pub const INGEST_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Of these from one link: pushes beyond are dropped and wanted later, so that one peer does not keep others' records out.
pub const INGEST_BYTES_PER_LINK_MAX: usize = 4 * 1_024 * 1_024;
/// A want is asked elsewhere when its link has answered nothing for this long, ms: slow lines answer something.
pub const WANT_TIMEOUT_MS: i64 = 10_000;
/// A want is asked elsewhere after this long even if its link answers other wants, ms: it may withhold one log.
pub const WANT_LIMIT_MS: i64 = 60_000;
/// A link is closed when an answer is this late, ms: each want is answered, that is the protocol.
pub const ANSWER_LIMIT_MS: i64 = 120_000;
/// Announcements of one link are gathered this long, ms: a till does not notice it, a busy hour shares frames.
pub const HAVE_INTERVAL_MS: i64 = 20;
/// Records that the ladder held back (a clock ahead, a roster not here yet) are asked for again after this, ms.
pub const RETRY_MS: i64 = 30_000;
/// Records whose author's clock is ahead are asked for again when their time comes, or after this, ms: by then another
/// incarnation may have taken their place.
pub const HELD_BACK_MS_MAX: i64 = 10 * 60_000;
/// Most logs of which the owner asks for single records at a time; forks are rare.
pub const EXACTS_MAX: usize = 16;
/// The longest proof of a fork in an Alarm, bytes: as much as a record's message may have to count.
pub const ALARM_BYTES_MAX: usize = 16 * 1_024;
/// Longest text in a Goodbye, characters.
pub const DETAIL_CHARS_MAX: usize = 200;
