//! Clusters that share what a route or a listener takes.

use fleetway_proto::v1;

use crate::{Name, error::Checker};

/// A cluster and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: Name,
    /// Its share, 0 to 1,000,000.
    pub weight: u32,
}

const MAX_WEIGHT: u32 = 1_000_000;

/// Reads the clusters in `field`, at least one of a weight above 0; they share `what`.
pub(super) fn read_clusters(
    check: &mut Checker,
    field: &str,
    messages: Vec<v1::WeightedCluster>,
    what: &str,
) -> Box<[WeightedCluster]> {
    let mut clusters: Vec<WeightedCluster> = Vec::with_capacity(messages.len());
    let of = |index: usize, name: &str| format!("{field}[{index}].{name}");
    for (index, cluster) in messages.into_iter().enumerate() {
        let weight = cluster.weight.unwrap_or(1);
        if weight > MAX_WEIGHT {
            check.fault(
                of(index, "weight"),
                format!("must be between 0 and {MAX_WEIGHT}"),
            );
        }
        let Some(name) = check.take(|| of(index, "name"), Name::new(&cluster.name)) else {
            continue;
        };
        if clusters.iter().any(|other| other.name == name) {
            check.fault(of(index, "name"), format!("names {name} a second time"));
        } else {
            clusters.push(WeightedCluster { name, weight });
        }
    }
    if clusters.is_empty() {
        check.fault(
            field,
            format!("is empty: name the cluster to send {what} to"),
        );
    } else if clusters.iter().all(|cluster| cluster.weight == 0) {
        check.fault(
            field,
            "every weight is 0: give one cluster a weight above 0",
        );
    }
    clusters.into()
}
