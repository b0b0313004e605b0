//! Predictions at a fixed rate, beside feedback, and at more than the server can do.
//!
//! Invariant: requests are sent at the times of a plan, whatever became of those before, and a latency
//! counts from the time of the plan; every figure stands beside that of a bare echo of the same run.

use std::time::Duration;

use anyhow::ensure;

use crate::child::{Kind, ServerProcess};
use crate::figures::Figures;
use crate::load::{self, Client, Open};
use crate::served;

/// The share of its capacity at which a server is at ease.
const AT_EASE: f64 = 0.2;
/// Feedback events a second beside that.
const EVENTS_PER_SECOND: f64 = 1000.0;
/// How long a caller waits under overload.
const DEADLINE: Duration = Duration::from_millis(500);
/// Connections under overload.
const N_CONNECTIONS: usize = 8;

/// Overload of both servers, in turn, and a server at ease beside feedback.
pub(crate) async fn measure(seconds: f64, n_pairs: usize) -> anyhow::Result<()> {
    println!("cargo bench --bench predict -- --overload {seconds} --pairs {n_pairs}\n");
    ensure!(seconds >= 0.1, "--overload {seconds}: expected >= 0.1");
    let span = Duration::from_secs_f64(seconds);
    let mut tables = [Table::default(), Table::default()];
    for _ in 0..n_pairs {
        for (kind, table) in [Kind::Echo, Kind::Perennial].into_iter().zip(&mut tables) {
            overload(kind, span, table).await?;
        }
    }
    for (kind, table) in [Kind::Echo, Kind::Perennial].into_iter().zip(&tables) {
        table.print(kind);
    }
    let mut beside = Beside::default();
    for _ in 0..n_pairs {
        beside.measure(span).await?;
    }
    beside.print();
    Ok(())
}

/// One server under loads of more and more.
#[derive(Default)]
struct Table {
    peak: Figures,
    /// At twice and at five times the peak.
    goodput: [Figures; 2],
    good_p99_ms: [Figures; 2],
    refused_p99_ms: [Figures; 2],
    refused: [Figures; 2],
    late: [Figures; 2],
    memory_mib: Figures,
}

const TIMES: [f64; 2] = [2.0, 5.0];

async fn overload(kind: Kind, span: Duration, table: &mut Table) -> anyhow::Result<()> {
    let server = ServerProcess::start(kind)?;
    let clients = Client::connect_all(&server, N_CONNECTIONS).await?;
    let at_rest = server.memory()?;
    let peak = capacity(&clients, span).await?;
    table.peak.0.push(peak);
    for (place, times) in TIMES.into_iter().enumerate() {
        clients[0].settle(kind).await?;
        let open = Open {
            per_second: peak * times,
            span,
            deadline: DEADLINE,
        };
        let sent = load::open(&clients, open).await?;
        let good = sent.good.len() as f64 / span.as_secs_f64();
        table.goodput[place].0.push(good / peak);
        table.good_p99_ms[place].0.push(sent.good_ms(0.99));
        table.refused_p99_ms[place].0.push(sent.refused_ms(0.99));
        let share = |n: usize| n as f64 / sent.n() as f64;
        table.refused[place].0.push(share(sent.refused.len()));
        table.late[place].0.push(share(sent.late));
    }
    let peak_mib = server.memory_peak()?.saturating_sub(at_rest) as f64 / 1024.0 / 1024.0;
    table.memory_mib.0.push(peak_mib);
    Ok(())
}

impl Table {
    fn print(&self, kind: Kind) {
        println!("{}", kind.word());
        println!(
            "  peak, requests/s, closed loop    {}",
            self.peak.shown(1.0, 0)
        );
        for (place, times) in TIMES.iter().enumerate() {
            println!("  offered {times} x the peak");
            println!(
                "    in time, share of the peak     {}",
                self.goodput[place].shown(1.0, 2)
            );
            println!(
                "    p99 of these, ms               {}",
                self.good_p99_ms[place].shown(1.0, 1)
            );
            println!(
                "    refused, share of the sent     {}",
                self.refused[place].shown(1.0, 2)
            );
            println!(
                "    p99 of refusals, ms            {}",
                self.refused_p99_ms[place].shown(1.0, 1)
            );
            println!(
                "    too late, share of the sent    {}",
                self.late[place].shown(1.0, 2)
            );
        }
        println!(
            "  memory above rest, MiB           {}\n",
            self.memory_mib.shown(1.0, 0)
        );
    }
}

/// Requests a second in a closed loop of 64.
async fn capacity(clients: &[Client], span: Duration) -> anyhow::Result<f64> {
    let probe = clients[0].load(8, 500).await?;
    let n = (probe.per_second() * span.as_secs_f64()).max(500.0) as usize;
    Ok(load::closed(clients, 64, n).await?.per_second())
}

/// A server at ease, without feedback and beside it.
#[derive(Default)]
struct Beside {
    p50_ms: [Figures; 2],
    p99_ms: [Figures; 2],
    /// From when an event is sent until an answer shows it.
    served_p50_ms: Figures,
    served_p99_ms: Figures,
    acknowledged_p50_ms: Figures,
}

impl Beside {
    async fn measure(&mut self, span: Duration) -> anyhow::Result<()> {
        let server = ServerProcess::start(Kind::Perennial)?;
        let clients = Client::connect_all(&server, 1).await?;
        let peak = capacity(&clients, span).await?;
        let open = Open {
            per_second: peak * AT_EASE,
            span,
            deadline: Duration::from_secs(10),
        };
        for place in 0..2 {
            clients[0].settle(Kind::Perennial).await?;
            let teaching = (place == 1).then(|| {
                let client = clients[0].clone();
                tokio::spawn(served::teach(client, EVENTS_PER_SECOND, span))
            });
            let sent = load::open(&clients, open).await?;
            ensure!(sent.late == 0 && sent.refused.is_empty(), "it was at ease");
            self.p50_ms[place].0.push(sent.good_ms(0.5));
            self.p99_ms[place].0.push(sent.good_ms(0.99));
            if let Some(teaching) = teaching {
                let taught = teaching.await??;
                self.served_p50_ms.0.push(taught.served_ms(0.5));
                self.served_p99_ms.0.push(taught.served_ms(0.99));
                self.acknowledged_p50_ms.0.push(taught.acknowledged_ms(0.5));
            }
        }
        Ok(())
    }

    fn print(&self) {
        println!("perennial at {AT_EASE} of its capacity, open loop");
        for (place, name) in ["no feedback", "1,000 feedback events a second"]
            .iter()
            .enumerate()
        {
            println!("  {name}");
            println!("    p50 ms   {}", self.p50_ms[place].shown(1.0, 2));
            println!("    p99 ms   {}", self.p99_ms[place].shown(1.0, 2));
        }
        println!("  feedback sent to served");
        println!("    p50 ms   {}", self.served_p50_ms.shown(1.0, 1));
        println!("    p99 ms   {}", self.served_p99_ms.shown(1.0, 1));
        println!(
            "    acknowledged, p50 ms {}",
            self.acknowledged_p50_ms.shown(1.0, 1)
        );
    }
}
