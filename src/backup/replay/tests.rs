//! Which part of a log is replayed: over timelines that follow one another, and never over a hole or what was undone.

use jiff::{SignedDuration, Timestamp};

use super::{ReplayError, Route, Until, route};
use crate::backup::keys::Sealer;
use crate::backup::layout::{Line, Segment};
use crate::backup::log::{Archive, histories, history_line, history_segment, holes};
use crate::backup::manifest::LogSpan;
use crate::backup::read::Keyring;
use crate::backup::tests::world::{World, uid};

const SEGMENT: u64 = 16;

fn line(timeline: u32) -> Line {
    Line { system: uid("7300000000000000001"), timeline }
}

struct Log {
    world: World,
    begun: Timestamp,
}

impl Log {
    async fn new() -> Self {
        let world = World::new(false).await;
        let begun = world.now();
        Self { world, begun }
    }

    fn minute(&self, minute: i64) -> Timestamp {
        self.begun + SignedDuration::from_mins(minute)
    }

    async fn put(&self, line: Line, segment: &Segment, content: &[u8], until: Timestamp) {
        let archive = Archive { repository: &self.world.repository, line };
        archive.push(segment, content.to_vec(), until, &Sealer::Clear, None, &self.world.key).await.expect("new");
    }

    /// Segments of a timeline, each of which covers until the minute of its number and so many more.
    async fn segments(&self, timeline: u32, numbers: std::ops::RangeInclusive<u64>, later: i64) {
        for number in numbers {
            let segment = Segment { number, name: uid(&format!("{timeline:08X}{number:016X}")) };
            let until = self.minute(i64::try_from(number).expect("small") + later);
            self.put(line(timeline), &segment, &[0; 16], until).await;
        }
    }

    /// A timeline that began then, each time it says where it left the ones before.
    async fn began(&self, timeline: u32, minute: i64, text: &str) {
        let place = history_line(&line(timeline)).expect("a short name");
        self.put(place, &history_segment(timeline), text.as_bytes(), self.minute(minute)).await;
    }

    async fn route(&self, until: Until) -> Result<Route, ReplayError> {
        let span = LogSpan { line: line(1), first: 10, last: 11 };
        route(&self.world.repository, &Keyring::default(), &span, until).await
    }

    async fn at(&self, minute: i64) -> Result<Vec<(u32, u64)>, ReplayError> {
        let route = self.route(Until::Time(self.minute(minute))).await?;
        Ok(route.segments.iter().map(|(line, segment)| (line.timeline, segment.number)).collect())
    }

    async fn refused(&self, minute: i64) -> String {
        self.at(minute).await.expect_err("it cannot be replayed").to_string()
    }
}

/// Where in the log a segment begins.
fn address(number: u64) -> String {
    format!("0/{:X}", number * SEGMENT)
}

#[tokio::test]
async fn however_much_there_is_of_other_logs_one_is_replayed() {
    let log = Log::new().await;
    log.segments(1, 8..=20, 0).await;
    let other = Line { system: uid("7300000000000000002"), timeline: 1 };
    for number in 0..5_001 {
        let segment = Segment { number, name: uid(&format!("00000001{number:016X}")) };
        log.world.memory.tamper(&other.segment(&segment, ".zst"), |_| Some(Vec::new()));
    }
    let refused = histories(&log.world.repository).await.expect_err("they are too many").to_string();
    assert!(refused.contains("it shows more than 5000 segments of logs"), "{refused}");
    assert_eq!(log.at(13).await.expect("a route").len(), 5);
}

#[tokio::test]
async fn a_log_is_taken_as_far_as_a_time_needs_it() {
    let log = Log::new().await;
    log.segments(1, 8..=20, 0).await;
    assert_eq!(log.at(13).await.expect("a route"), [(1, 10), (1, 11), (1, 12), (1, 13), (1, 14)]);
    assert_eq!(log.at(20).await.expect("a route").last(), Some(&(1, 20)));
    assert!(log.refused(21).await.contains("does not reach"));
    assert_eq!(log.route(Until::Latest).await.expect("a route").segments.len(), 11);
    assert!(log.route(Until::Backup).await.expect("a route").segments.is_empty());
}

#[tokio::test]
async fn a_backup_whose_own_part_of_the_log_ends_early_is_refused() {
    let log = Log::new().await;
    log.segments(1, 8..=10, 0).await;
    for until in [Until::Latest, Until::Time(log.minute(10))] {
        let error = log.route(until).await.expect_err("segment 11 is not there");
        assert!(matches!(error, ReplayError::Needed(11)), "{error}");
    }
}

#[tokio::test]
async fn a_timeline_is_followed_where_it_takes_up_the_one_before() {
    let log = Log::new().await;
    log.segments(1, 8..=15, 0).await;
    log.segments(2, 16..=20, 5).await;
    log.began(2, 16, &format!("1\t{}\tno recovery target specified\n", address(16))).await;
    let taken = log.at(24).await.expect("a route");
    assert_eq!((taken.first(), taken.last()), (Some(&(1, 10)), Some(&(2, 20))));
    assert_eq!(taken.len(), 11);
    // between the last change of the one and the first of the other nothing was written
    log.at(16).await.expect("a route");
}

#[tokio::test]
async fn over_a_hole_between_timelines_nothing_is_replayed_and_it_is_told() {
    let log = Log::new().await;
    log.segments(1, 8..=12, 0).await;
    log.segments(2, 16..=20, 5).await;
    log.began(2, 16, &format!("1\t{}\tno recovery target specified\n", address(16))).await;
    log.at(12).await.expect("before the hole");
    for minute in [13, 22] {
        let said = log.refused(minute).await;
        assert!(
            said.contains("does not reach") && said.ends_with("segment 000000000000000D is missing there"),
            "{said}"
        );
    }
    let latest = log.route(Until::Latest).await.expect("as far as it goes");
    assert_eq!((latest.hole, latest.segments.len()), (Some(13), 3));
    let all = histories(&log.world.repository).await.expect("read");
    let all: Vec<_> = all.into_iter().filter(|history| history.line.system == line(1).system).collect();
    assert_eq!(holes(&all).iter().map(|hole| (hole.first, hole.last)).collect::<Vec<_>>(), [(13, 15)]);
    // a restore to before it leaves no hole of its own
    log.segments(3, 11..=14, 60).await;
    let all = histories(&log.world.repository).await.expect("read");
    let third: Vec<_> = all.into_iter().filter(|history| [line(1), line(3)].contains(&history.line)).collect();
    assert!(holes(&third).is_empty());
}

#[tokio::test]
async fn a_time_that_was_undone_is_refused_and_those_around_it_are_not() {
    let log = Log::new().await;
    log.segments(1, 8..=30, 0).await;
    // at minute 40 somebody went back to what there was at minute 20
    log.segments(2, 20..=25, 25).await;
    let before = log.minute(20).strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string();
    log.began(2, 40, &format!("1\t{}\tbefore {before}\n", address(20))).await;
    log.at(19).await.expect("before it was left");
    for minute in [20, 25, 39] {
        let said = log.refused(minute).await;
        assert!(said.contains("was undone: timeline 1"), "{minute}: {said}");
    }
    log.at(40).await.expect("after it began anew");
    log.at(50).await.expect("after it began anew");
}

#[tokio::test]
async fn what_a_timeline_wrote_after_it_was_left_is_known_without_a_time_too() {
    let log = Log::new().await;
    log.segments(1, 8..=30, 0).await;
    log.segments(2, 20..=25, 25).await;
    log.began(2, 40, &format!("1\t{}\tno recovery target specified\n", address(20))).await;
    assert!(log.refused(25).await.contains("was undone"));
    log.at(18).await.expect("before it was left");
    log.at(45).await.expect("after it began anew");
}
