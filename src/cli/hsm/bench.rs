//! `kipuka hsm bench`: what the token gives, by the number of sessions.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::Failure;
use crate::app;
use crate::config::Hsm;
use crate::signer::Signer;
use crate::signer::pkcs11::Pkcs11Signer;
use crate::telemetry::metrics::Metrics;

/// Signed over and over. It is no DER, so that it can be mistaken for nothing.
const MESSAGE: &[u8] = b"kipuka measures how fast this key signs";

/// A number of sessions whose rate comes as near to the best one as this is as good.
const AS_GOOD: f64 = 0.95;

/// What one number of sessions came to.
struct Measured {
    sessions: usize,
    per_second: f64,
    median: Duration,
    p99: Duration,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let Self { sessions, per_second, median, p99 } = self;
        write!(f, "{sessions:>8} {per_second:>12.0} {:>12.2} {:>12.2}", ms(*median), ms(*p99))
    }
}

/// Signs with the key for `each` long with each number of `sessions`, and prints what came of it.
pub(super) async fn bench(
    hsm: &Hsm,
    cka_id: Option<&[u8]>,
    sessions: &[usize],
    each: Duration,
) -> Result<(), Failure> {
    let cka_id = &match cka_id {
        Some(id) => id.to_vec(),
        None => only_key(hsm).await?,
    };
    say!("sessions signatures/s    median/ms       p99/ms");
    let mut measured = Vec::new();
    for sessions in sessions {
        let result = measure(hsm, cka_id, *sessions, each).await?;
        say!("{result}");
        measured.push(result);
    }
    if let Some(sessions) = recommended(&measured) {
        say!("in [hsm] write: max_sessions = {sessions}");
    }
    Ok(())
}

/// The key that is meant where there is only one.
async fn only_key(hsm: &Hsm) -> Result<Vec<u8>, Failure> {
    let token = app::open_token(hsm, &Metrics::new()).await?;
    let keys = token.keys().map_err(Failure::failed)?;
    let private: Vec<_> = keys.iter().filter(|key| key.private).collect();
    match &private[..] {
        [only] => Ok(only.id.clone()),
        [] => Err(Failure::Failed(format!(
            "there is no private key on the token {:?}",
            token.label()
        ))),
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::Misconfigured(format!(
                "kipuka: there are several keys; name one with --id: {}",
                several.join("; ")
            )))
        }
    }
}

async fn measure(
    hsm: &Hsm,
    cka_id: &[u8],
    sessions: usize,
    each: Duration,
) -> Result<Measured, Failure> {
    let hsm = Hsm { max_sessions: Some(sessions), ..hsm.clone() };
    let token = app::open_token(&hsm, &Metrics::new()).await?;
    let key = token.public_key(cka_id).map_err(Failure::failed)?;
    let signer = Arc::new(app::open_signer(&token, cka_id, &key).await?);
    // As many callers as sessions: nobody waits for another's signature.
    let mut latencies = sign_until(&signer, sessions, Instant::now() + each / 2).await?;
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default()
    };
    // One waits for each that is served, so that no session is ever idle.
    let begun = Instant::now();
    let signed = sign_until(&signer, 2 * sessions, begun + each).await?.len();
    let signed = u32::try_from(signed).unwrap_or(u32::MAX);
    let per_second = f64::from(signed) / begun.elapsed().as_secs_f64();
    Ok(Measured { sessions, per_second, median: percentile(50), p99: percentile(99) })
}

/// How long each signature took.
async fn sign_until(
    signer: &Arc<Pkcs11Signer>,
    callers: usize,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let signer = Arc::clone(signer);
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                signer.sign(MESSAGE.to_vec()).await?;
                latencies.push(begun.elapsed());
            }
            Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        let latencies = latencies.map_err(Failure::failed)?;
        all.extend(latencies.map_err(|error: crate::signer::SignError| Failure::failed(error))?);
    }
    Ok(all)
}

/// The smallest number of sessions that is as good as the best.
fn recommended(measured: &[Measured]) -> Option<usize> {
    let best = measured.iter().map(|one| one.per_second).fold(0.0, f64::max);
    let good = measured.iter().filter(|one| one.per_second >= AS_GOOD * best);
    good.map(|one| one.sessions).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_sessions_are_recommended_as_come_near_the_best() {
        let measured = |rates: &[(usize, f64)]| {
            let one = |(sessions, per_second): &(usize, f64)| Measured {
                sessions: *sessions,
                per_second: *per_second,
                median: Duration::ZERO,
                p99: Duration::ZERO,
            };
            recommended(&rates.iter().map(one).collect::<Vec<_>>())
        };
        assert_eq!(measured(&[(1, 200.0), (2, 400.0), (8, 1600.0), (16, 1605.0)]), Some(8));
        assert_eq!(measured(&[(1, 700.0), (2, 690.0)]), Some(1));
        assert_eq!(measured(&[]), None);
    }
}
