//! The figures to reach, as ratios of ours to a peer's, and whether a run reached them.

use crate::cell::{Cell, Metric};
use crate::contender::Contender;
use crate::statistics::Spread;
use crate::works::{Case, Variant, Work};
use aio_core::Engine;
use servers::Server;

/// What a figure of ours is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// The same figure of a peer.
    Peer(Server),
    /// Ours in another case of the work, of which this says whether it is the one.
    Own(fn(&Case) -> bool),
    /// Nothing: the limit is absolute.
    Nothing,
}

struct Target {
    work: Work,
    engine: Engine,
    /// None stands for as many as the case has connections.
    workers: Option<usize>,
    metric: Metric,
    against: Against,
    limit: f64,
    /// In which cases it is to hold.
    applies: fn(&Case) -> bool,
}

/// A target in one case, and what came of it.
pub(crate) struct Judged {
    pub(crate) work: Work,
    pub(crate) case: String,
    pub(crate) what: String,
    pub(crate) limit: f64,
    pub(crate) reached: Option<Spread>,
}

impl Judged {
    pub(crate) fn verdict(&self) -> &'static str {
        match self.reached {
            None => "not measured",
            Some(reached) if reached.median <= self.limit => "met",
            Some(reached) if reached.least <= self.limit => "within the spread",
            Some(_) => "missed",
        }
    }
}

const SINGLE_THREADED: [Server; 5] = [
    Server::RawMio,
    Server::TokioCurrentThread,
    Server::Smol,
    Server::CompioUring,
    Server::MonoioUring,
];

fn all() -> Vec<Target> {
    use Against::{Nothing, Own, Peer};
    use Engine::{Blocking, Readiness};
    let mut targets = Vec::new();
    let mut add = |work, engine, workers, metric, against, limit, applies| {
        let workers = Some(workers);
        targets.push(Target { work, engine, workers, metric, against, limit, applies });
    };
    let always: fn(&Case) -> bool = |_| true;
    let up_to_three_quarters: fn(&Case) -> bool =
        |case| case.percent.is_some_and(|percent| (25..=75).contains(&percent));
    let few: fn(&Case) -> bool = |case| [16, 256].contains(&case.connections);
    let tokio = Peer(Server::TokioMultiThread);

    for peer in SINGLE_THREADED.map(Peer) {
        add(Work::P1, Readiness, 1, Metric::Cpu, peer, 1.05, always);
    }
    add(Work::P1, Readiness, 2, Metric::Cpu, Peer(Server::RawMio), 1.15, always);
    add(Work::P1, Readiness, 2, Metric::Cpu, tokio, 1.0, always);
    add(Work::P1, Readiness, 2, Metric::P99, Peer(Server::RawMio), 1.3, few);
    add(Work::P1, Readiness, 2, Metric::P99, tokio, 0.7, few);
    for engine in [Readiness, Blocking] {
        for peer in SINGLE_THREADED.map(Peer) {
            add(Work::P3, engine, 1, Metric::P50, peer, 1.05, always);
        }
        add(Work::P3, engine, 2, Metric::P50, tokio, 1.05, always);
    }
    for (work, metric, applies) in [
        (Work::P4, Metric::P99, up_to_three_quarters),
        (Work::P9, Metric::Cpu, always),
        (Work::P10, Metric::CpuPerMb, always),
    ] {
        for peer in SINGLE_THREADED.map(Peer) {
            add(work, Readiness, 1, metric, peer, 1.05, applies);
        }
        add(work, Readiness, 2, metric, tokio, 1.05, applies);
    }
    add(Work::P5, Readiness, 2, Metric::BeyondBuffer, Nothing, 512.0, always);
    // A thousandth of a CPU stands for nothing: what raw mio shows, which does nothing, comes near it.
    add(Work::P5, Readiness, 2, Metric::IdleCpu, Nothing, 1000.0, always);
    add(Work::P5, Readiness, 2, Metric::Threads, Nothing, 2.0, always);
    let some_block: fn(&Case) -> bool = |case| case.variant == Variant::SomeBlock;
    add(
        Work::P11,
        Readiness,
        4,
        Metric::P99,
        Own(|case| case.variant == Variant::NoneBlocks),
        2.0,
        some_block,
    );
    add(Work::P11, Readiness, 4, Metric::P99, Nothing, 2000.0, some_block);
    add(Work::P11, Readiness, 4, Metric::P99, tokio, 0.5, some_block);
    let pending: fn(&Case) -> bool = |case| case.connections > 0;
    add(Work::P12, Readiness, 2, Metric::P50, Own(|case| case.connections == 0), 2.0, pending);
    add(Work::P12, Blocking, 2, Metric::P50, Own(|case| case.connections == 0), 10.0, pending);
    let timed: fn(&Case) -> bool = |case| case.variant != Variant::Race;
    for engine in [Readiness, Blocking] {
        add(Work::P13, engine, 2, Metric::P50, Nothing, 100.0, timed);
        add(Work::P13, engine, 2, Metric::LostBytes, Nothing, 0.0, |case| {
            case.variant == Variant::Race
        });
    }
    for (peer, limit) in [
        (Server::ThreadPerConnection, 1.15),
        (Server::TokioSpawnBlocking, 0.5),
        (Server::RayonJobs, 0.5),
        (Server::RayonAndAQueue, 0.5),
    ] {
        targets.push(Target {
            work: Work::P6,
            engine: Blocking,
            workers: None,
            metric: Metric::Cpu,
            against: Peer(peer),
            limit,
            applies: always,
        });
    }
    targets.sort_by_key(|target| target.work);
    targets
}

/// Every target of the works that were run, in each case that it is for.
pub(crate) fn judge(cells: &[Cell], cases: &[Case]) -> Vec<Judged> {
    let mut judged = Vec::new();
    for target in all() {
        let of_work = |case: &&Case| case.work == target.work;
        for case in cases.iter().filter(of_work).filter(|case| (target.applies)(case)) {
            let workers = target.workers.unwrap_or(case.connections);
            let ours = Contender::new(Server::Aio(target.engine), workers);
            let others = |case: Case, is_it: &dyn Fn(Contender) -> bool, round: usize| {
                let mut cells =
                    cells.iter().filter(|cell| cell.case == case && cell.round == round);
                target.metric.of(cells.find(|cell| is_it(cell.contender))?.measurement()?)
            };
            let value = |round| {
                let ours_now = others(*case, &|contender| contender == ours, round)?;
                Some(match target.against {
                    Against::Nothing => ours_now,
                    Against::Peer(peer) => {
                        ours_now / others(*case, &|contender| contender.server == peer, round)?
                    }
                    Against::Own(is_other) => {
                        let other = cases.iter().filter(of_work).find(|case| is_other(case))?;
                        ours_now / others(*other, &|contender| contender == ours, round)?
                    }
                })
            };
            let rounds = cells.iter().map(|cell| cell.round).max().unwrap_or(0);
            let against = match target.against {
                Against::Nothing => String::new(),
                Against::Peer(peer) => format!(" ÷ {}", peer.title()),
                Against::Own(_) => " ÷ its own without".to_owned(),
            };
            judged.push(Judged {
                work: target.work,
                case: case.title(),
                what: format!("{}: {ours}{against}", target.metric.title().replace(" µs", "")),
                limit: target.limit,
                reached: Spread::of((1..=rounds).filter_map(value)),
            });
        }
    }
    judged
}
