//! What a run measures: who takes part in which work, and in which order.

use crate::contender::Contender;
use crate::options::Settings;
use crate::works::{Case, OPEN_LOOP_CONNECTIONS, Variant, Work};
use servers::Server;

const SLOW_WORKERS: usize = 4;
const SLOW_PERCENT: u32 = 20;
const PENDING_PER_WORKER: usize = 1000;
/// Receives that are pending beside those that are canceled.
const PENDING_BESIDE: usize = 1000;
/// tokio's default.
const BLOCKING_THREADS: usize = 512;

/// One cell of a round: a contender and a case, or the reason why the one does not do the other.
pub(crate) struct Planned {
    pub(crate) case: Case,
    pub(crate) contender: Contender,
    pub(crate) skipped: Option<String>,
}

/// The cells of one round, in the order in which they are measured: the contenders take turns.
pub(crate) fn plan(settings: &Settings) -> Vec<Planned> {
    let mut planned = Vec::new();
    for &work in &settings.works {
        for case in cases(work, settings) {
            for contender in contenders(case, settings) {
                planned.push(Planned { case, contender, skipped: reason_to_skip(case, contender) });
            }
        }
    }
    planned
}

fn cases(work: Work, settings: &Settings) -> Vec<Case> {
    let plain = |connections| Case::new(work, connections);
    match work {
        Work::P1 => settings.connections.iter().copied().map(plain).collect(),
        Work::P3 => vec![plain(1)],
        Work::P4 => {
            let open = |&percent| Case { percent: Some(percent), ..plain(OPEN_LOOP_CONNECTIONS) };
            settings.rates.iter().map(open).collect()
        }
        Work::P5 => settings.idle_connections.iter().copied().map(plain).collect(),
        Work::P6 => vec![plain(2), plain(8)],
        Work::P9 => vec![plain(16)],
        Work::P10 => vec![plain(4)],
        Work::P11 => [Variant::NoneBlocks, Variant::SomeBlock]
            .map(|variant| {
                let case = plain(OPEN_LOOP_CONNECTIONS);
                Case { percent: Some(SLOW_PERCENT), variant, ..case }
            })
            .to_vec(),
        Work::P12 => {
            let most = settings.workers.iter().max().expect("at least one");
            vec![plain(0), plain(PENDING_PER_WORKER * most)]
        }
        Work::P13 => [
            (Variant::Cancel, 0),
            (Variant::Cancel, PENDING_BESIDE),
            (Variant::Deadline, 0),
            (Variant::Deadline, PENDING_BESIDE),
            (Variant::Race, 0),
        ]
        .map(|(variant, pending)| Case { variant, ..plain(pending) })
        .to_vec(),
    }
}

fn contenders(case: Case, settings: &Settings) -> Vec<Contender> {
    let most = *settings.workers.iter().max().expect("at least one");
    let least = *settings.workers.iter().min().expect("at least one");
    let workers = match case.work {
        // As many workers as connections.
        Work::P6 => vec![case.connections],
        Work::P11 => vec![SLOW_WORKERS],
        Work::P12 | Work::P13 => vec![most],
        _ => settings.workers.clone(),
    };
    let mut contenders = Vec::new();
    for &engine in &settings.engines {
        let server = Server::Aio(engine);
        contenders.extend(workers.iter().map(|&workers| Contender::new(server, workers)));
    }
    for &server in &settings.peers {
        if !takes_part(server, case.work) {
            continue;
        }
        let workers = match (server, workers.as_slice()) {
            (_, &[only]) => only,
            // Beside the others that run on one thread.
            (Server::Smol, _) => least,
            _ => most,
        };
        contenders.push(Contender::new(server, workers));
    }
    contenders
}

/// Whether a work has something to say about a peer.
fn takes_part(server: Server, work: Work) -> bool {
    match work {
        Work::P6 => matches!(
            server,
            Server::RawMio
                | Server::TokioMultiThread
                | Server::TokioSpawnBlocking
                | Server::ThreadPerConnection
                | Server::RayonJobs
                | Server::RayonAndAQueue
        ),
        // A single thread is held up by the first handler that blocks.
        Work::P11 => matches!(
            server,
            Server::TokioMultiThread
                | Server::TokioSpawnBlocking
                | Server::Smol
                | Server::ThreadPerConnection
        ),
        Work::P13 => false,
        _ => !server.starves(),
    }
}

fn reason_to_skip(case: Case, contender: Contender) -> Option<String> {
    let Case { work, connections, .. } = case;
    let pool = Server::TokioSpawnBlocking;
    // Under P12 it is run all the same: what becomes of the fresh connection is the question.
    if contender.server == pool && connections > BLOCKING_THREADS && work != Work::P12 {
        return Some(format!(
            "its {BLOCKING_THREADS} blocking threads are all held by pending receives"
        ));
    }
    None
}

/// The descriptors that the generator, or a server, needs at most.
pub(crate) fn descriptors(settings: &Settings) -> u64 {
    const BESIDE: usize = 128;
    let most = plan(settings).iter().map(|planned| planned.case.connections).max().unwrap_or(0);
    (most + BESIDE) as u64
}
