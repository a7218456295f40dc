//! Reads all partitions from their start, over and over again from where it was.

use std::collections::BTreeMap;

use super::fetching::{Unread, What, fetch};
use super::{Shared, admin};
use crate::actor::Me;
use crate::link::Link;

/// Reads until the run is closing and everything was read.
pub(crate) async fn run(me: Me, shared: Shared, committed: bool) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    let mut positions: BTreeMap<_, i64> =
        shared.partitions.iter().map(|partition| (*partition, 0)).collect();
    let mut link = Link::reopen(&me, shared.broker).await;
    loop {
        let closing = shared.is_closing();
        let era = shared.era();
        let wait_ms = me.between(0, 700) as i32;
        let fetched = fetch(&me, &shared, &mut link, &positions, committed, wait_ms).await;
        let Ok(fetched) = fetched else {
            drop(link);
            link = Link::reopen(&me, shared.broker).await;
            continue;
        };
        let mut news = false;
        for outcome in fetched {
            match outcome {
                Ok(fetched) => {
                    news |= fetched.next > positions[&fetched.partition];
                    positions.insert(fetched.partition, fetched.next);
                    let mut ledger = shared.ledger.borrow_mut();
                    for item in fetched.items {
                        if let What::Record(id) = item.what
                            && fetched.shown.contains(&item.offset)
                        {
                            ledger.saw(
                                fetched.partition,
                                item.offset,
                                id,
                                committed,
                                item.timestamp,
                                era,
                            );
                        }
                    }
                }
                Err((partition, Unread::OutOfRange(start))) => {
                    let position = positions[&partition];
                    // Below the start retention has been there. Above the end the log was cut.
                    if start <= position && !shared.ledger.borrow().may_be_lost(0) {
                        me.host().violation(format!(
                            "{partition:?} has no {position}, and its start is {start}"
                        ));
                    }
                    positions.insert(partition, start.max(0));
                }
                Err((_, Unread::Later)) => me.sleep_ms(20, 100).await,
            }
        }
        if closing && !news {
            return;
        }
        if me.chance(300_000) {
            me.sleep_ms(1, 400).await;
        }
    }
}
