//! `[limits]` and `[networks]`, checked.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

/// So many in a span, and so many at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// In `span`.
    pub count: NonZeroU32,
    /// In which `count` may come.
    pub span: Duration,
    /// At once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `count` in `span`, all of them at once if need be. A count of 0 counts as 1.
    #[must_use]
    pub fn new(count: u32, span: Duration) -> Self {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self { count, span, burst: count }
    }
}

/// Settings of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Datagrams of a stranger; whoever sends more is blocked.
    pub messages_per_source: Rate,
    /// Datagrams of a trunk or of the PBX; more are dropped, and nobody is blocked.
    pub messages_per_trunk: Rate,
    /// New calls of one source.
    pub calls_per_source: Rate,
    /// New calls of one number.
    pub calls_per_number: Rate,
    /// First block; doubles each time.
    pub block_for: Duration,
    /// Longest block; a source that was quiet for as long begins anew.
    pub longest_block: Duration,
    /// Entries of each table.
    pub max_sources: usize,
    /// Never limited, never blocked.
    pub allow: Vec<IpNet>,
    /// Never heard.
    pub deny: Vec<IpNet>,
    /// Trunks and PBX: limited, never blocked.
    pub trusted: Vec<IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            messages_per_source: Rate::new(50, Duration::from_secs(1)),
            messages_per_trunk: Rate::new(2_000, Duration::from_secs(1)),
            calls_per_source: Rate::new(60, minute),
            calls_per_number: Rate::new(6, 10 * minute),
            block_for: 15 * minute,
            longest_block: 24 * 60 * minute,
            max_sources: 65_536,
            allow: Vec::new(),
            deny: Vec::new(),
            trusted: Vec::new(),
        }
    }
}

impl Settings {
    /// In `networks.allow`?
    #[must_use]
    pub(super) fn is_allowed(&self, source: IpAddr) -> bool {
        contains(&self.allow, source)
    }

    /// In `networks.deny`?
    #[must_use]
    pub(super) fn is_denied(&self, source: IpAddr) -> bool {
        contains(&self.deny, source)
    }

    /// A trunk or the PBX?
    #[must_use]
    pub(super) fn is_trusted(&self, source: IpAddr) -> bool {
        contains(&self.trusted, source)
    }
}

fn contains(networks: &[IpNet], source: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&source))
}
