//! SRTP that ends here: what a peer has said of it, what it is told, and what the media path does about it (RFC 4568).
//!
//! Each side has its own word on it. Where neither has one, encryption passes with its keys, where its profile says
//! that it is some; so does encryption that a side without a word begins, or one of a kind that is not spoken here
//! (DTLS). Beside the plain profile keys do not pass: peers that take them (RFC 8643) would encrypt what everybody
//! here, and the ear, takes for plain.

use serde::{Deserialize, Serialize};

use super::answer;
use super::settings::Side;
use super::state::Call;
use crate::rtp::control::{Rollovers, SrtpPlan, StreamPlan};
use crate::rtp::srtp::{MasterKey, Suite};
use crate::sip::wire::sdp::{BadSdp, Crypto, Media, Protection, Sdp};
use crate::units::{CallId, Leg, PerLeg};

/// `srtp` of a trunk or the PBX.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum SrtpPolicy {
    /// Not ours: keys pass between the peers.
    #[default]
    Off,
    /// Ends here where the peer speaks it.
    Offer,
    /// Nothing else passes.
    Require,
}

/// What each side has to say of SRTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SrtpSettings {
    /// The PBX.
    pub inside: SrtpPolicy,
    /// Each trunk, by the order of the trunks.
    pub outside: Vec<SrtpPolicy>,
}

impl SrtpSettings {
    /// No side has a word on it.
    pub(super) fn is_off(&self) -> bool {
        self.outside.iter().chain([&self.inside]).all(|policy| *policy == SrtpPolicy::Off)
    }
}

/// What a peer has said of SRTP so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Spoken {
    /// Nothing.
    #[default]
    Unknown,
    /// Plain RTP.
    Plain,
    /// This one of its keys was taken.
    Sdes {
        /// Its name.
        tag: u32,
        /// Its suite.
        suite: Suite,
        /// `RTP/SAVP`.
        secure_profile: bool,
    },
}

/// What has been said of SRTP in a call, for the process that goes on with it. Keys are in the plans of its legs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secured {
    /// By each peer.
    pub spoken: PerLeg<Spoken>,
    /// Encryption between the peers passes.
    pub passes: bool,
}

/// A call's part.
#[derive(Debug)]
pub(super) struct Security {
    /// Ours, with which what goes to each leg is encrypted.
    keys: PerLeg<MasterKey>,
    pub(super) said: Secured,
}

impl Security {
    /// None: no side has a word on it.
    pub(super) fn new(settings: &SrtpSettings, secret: &[u8; 16], call: CallId) -> Option<Box<Self>> {
        if settings.is_off() {
            return None;
        }
        let key = |leg: Leg| {
            let [a, b, c, d, e, f, g, h] = call.0.to_be_bytes();
            MasterKey::derived(secret, &[a, b, c, d, e, f, g, h, u8::from(leg == Leg::Callee)])
        };
        Some(Box::new(Self { keys: PerLeg::from_fn(key), said: Secured::default() }))
    }

    /// Keys that another process has told the peers.
    pub(super) fn resume(&mut self, leg: Leg, plan: &mut SrtpPlan) {
        self.keys[leg] = plan.ours.clone();
        plan.resumed = true;
    }
}

/// A key of a description that is spoken here.
fn usable(crypto: &Crypto<'_>) -> Option<(u32, Suite, MasterKey)> {
    let suite = Suite::ALL.into_iter().find(|suite| suite.name() == crypto.suite)?;
    // A master key identifier would stand in every packet, and other parameters change how keys are made.
    crypto.plain.then_some((crypto.tag, suite, MasterKey::parse(crypto.key)?))
}

/// What comes of one description.
pub(super) struct Negotiated {
    /// For the leg that it is of.
    pub plan: Option<Box<SrtpPlan>>,
    /// How it is written for the other leg.
    pub rewritten: Protection,
    /// The side that it came from must encrypt, and does not.
    pub refused: bool,
}

impl Negotiated {
    /// What `media` says to the media path.
    pub(super) fn stream(&self, media: &Media<'_>) -> StreamPlan {
        StreamPlan { srtp: self.plan.clone(), fax: media.is_fax() && !self.refused, ..answer::plan(media) }
    }
}

impl Call {
    fn srtp_policy(&self, leg: Leg) -> SrtpPolicy {
        let settings = &self.settings;
        match self.side(leg) {
            Side::Inside => settings.srtp.inside,
            Side::Outside => {
                let by_address = || settings.trunk_of(self.flow[leg].peer.ip()).map(|trunk| &trunk.name);
                let named = self.trunk_of(leg).filter(|name| settings.trunk(name).is_some());
                let trunk = named.or_else(by_address);
                let place = settings.trunks.iter().position(|known| Some(&known.name) == trunk);
                place.and_then(|place| settings.srtp.outside.get(place)).copied().unwrap_or_default()
            }
        }
    }

    /// Reads a description of `from`. Encryption beside the same audio in the clear is not seen, where that side has no
    /// word on it: what would pass between the peers, the other one may not know.
    pub(super) fn read_sdp<'b>(&self, body: &'b [u8], from: Leg) -> Result<Sdp<'b>, BadSdp> {
        let mut sdp = self.settings.read_sdp(body)?;
        if self.security.is_none() || self.srtp_policy(from) == SrtpPolicy::Off {
            sdp.prefer_plain();
        }
        Ok(sdp)
    }

    /// Nothing plain may pass on `leg`. Nobody who calls for help has to encrypt.
    fn must_encrypt(&self, leg: Leg) -> bool {
        self.srtp_policy(leg) == SrtpPolicy::Require && !self.is_emergency()
    }

    /// A fax by T.38 would pass in the clear where nothing may.
    fn must_encrypt_fax(&self) -> bool {
        Leg::BOTH.into_iter().any(|leg| self.must_encrypt(leg))
    }

    /// The word that counts for what `leg` says or is told.
    fn srtp_wanted(&self, leg: Leg, encrypts: bool) -> SrtpPolicy {
        let policy = self.srtp_policy(leg);
        let spared = policy == SrtpPolicy::Require && !encrypts && !self.must_encrypt(leg);
        if spared { SrtpPolicy::Offer } else { policy }
    }

    /// A side has a word on SRTP: what passes here is not left to the peers alone.
    pub(super) fn may_end_srtp(&self) -> bool {
        self.security.is_some() && Leg::BOTH.into_iter().any(|leg| self.srtp_policy(leg) != SrtpPolicy::Off)
    }

    /// Takes what `media` says for the leg `from`, and says what the other is told.
    pub(super) fn negotiate(&mut self, media: &Media<'_>, from: Leg) -> Negotiated {
        let plain = |leg: Leg| self.security.as_ref().is_some_and(|one| one.said.spoken[leg] == Spoken::Plain);
        let policy = self.srtp_wanted(from, media.crypto.iter().any(|crypto| usable(crypto).is_some()));
        let towards = self.srtp_wanted(from.other(), !plain(from.other()));
        let refuses_fax = media.is_fax() && self.must_encrypt_fax();
        let before = self.media.plan[from].srtp.clone();
        let as_it_is = Negotiated { plan: None, rewritten: Protection::AsItIs, refused: false };
        let Some(security) = &mut self.security else {
            let rewritten = if media.is_plain_rtp() { Protection::Plain } else { Protection::AsItIs };
            return Negotiated { rewritten, ..as_it_is };
        };
        if media.is_fax() {
            // T.38 knows no SRTP: it passes, or nothing does. The keys are those of the talk before and after.
            return Negotiated { plan: before, refused: refuses_fax, ..as_it_is };
        }
        let encrypted = !media.is_plain_rtp();
        let chosen = media.crypto.iter().find_map(usable).filter(|_| policy != SrtpPolicy::Off);
        let said = &mut security.said;
        let foreign = policy == SrtpPolicy::Off || said.passes || chosen.is_none() && policy == SrtpPolicy::Offer;
        said.passes = encrypted && foreign;
        if said.passes {
            said.spoken[from] = Spoken::Unknown;
            return as_it_is;
        }
        let ours = security.keys[from].clone();
        let same_ours = before.as_ref().filter(|before| before.ours == ours);
        let plan = |suite: Suite, theirs: Option<MasterKey>| SrtpPlan {
            suite,
            rollovers: match same_ours {
                Some(before) if before.theirs == theirs => before.rollovers.clone(),
                // A new key has been heard with nothing yet.
                Some(before) => Rollovers { heard: 0, heard_of: Vec::new(), ..before.rollovers.clone() },
                None => Rollovers::default(),
            },
            resumed: same_ours.is_some_and(|before| before.resumed),
            ours: ours.clone(),
            theirs,
        };
        let (spoken, plan, refused) = match (policy, chosen) {
            (SrtpPolicy::Offer | SrtpPolicy::Require, Some((tag, suite, theirs))) => (
                Spoken::Sdes { tag, suite, secure_profile: encrypted },
                Some(Box::new(plan(suite, Some(theirs)))),
                false,
            ),
            (SrtpPolicy::Require, None) => (Spoken::Plain, Some(Box::new(plan(Suite::Aes128Sha1_80, None))), true),
            (SrtpPolicy::Off | SrtpPolicy::Offer, _) => (Spoken::Plain, None, false),
        };
        security.said.spoken[from] = spoken;
        let to = from.other();
        let rewritten = told(towards, security.said.spoken[to], &security.keys[to]);
        Negotiated { plan, rewritten, refused }
    }

    /// The peer of `leg` refuses what it was told. True: keys were in it that need not be, and will not be again.
    pub(super) fn stops_offering_keys(&mut self, leg: Leg) -> bool {
        let may = self.srtp_policy(leg) == SrtpPolicy::Offer;
        let Some(security) = self.security.as_mut().filter(|one| may && !one.said.passes) else { return false };
        let unknown = security.said.spoken[leg] == Spoken::Unknown;
        if unknown {
            security.said.spoken[leg] = Spoken::Plain;
        }
        unknown
    }

    /// An offer of `from` that cannot go on: it is not encrypted where its side must, or is a fax where either must,
    /// which then goes on as a talk. Asked before anything is taken in, so that what was agreed on stays (RFC 3261
    /// §14.2).
    pub(super) fn refuses(&self, media: &Media<'_>, from: Leg) -> bool {
        let Some(security) = &self.security else { return false };
        if media.is_fax() {
            return self.must_encrypt_fax();
        }
        let passes = security.said.passes && !media.is_plain_rtp();
        self.must_encrypt(from) && !passes && !media.crypto.iter().any(|crypto| usable(crypto).is_some())
    }

    /// The crypto attribute of an answer of our own to `media` of `leg`; None: it is plain, or not spoken.
    pub(super) fn own_crypto(&self, media: &Media<'_>, leg: Leg) -> Option<String> {
        let security = self.security.as_ref().filter(|_| self.srtp_policy(leg) != SrtpPolicy::Off)?;
        let (tag, suite, _) = media.crypto.iter().find_map(usable)?;
        Some(attribute(tag, suite, &security.keys[leg]))
    }

    /// What an offer of our own says to `leg`.
    pub(super) fn own_protection(&self, leg: Leg) -> Protection {
        let Some(security) = &self.security else { return Protection::Plain };
        told(self.srtp_policy(leg), security.said.spoken[leg], &security.keys[leg])
    }
}

/// What a peer is told, by its side's word and by what it has said itself.
fn told(policy: SrtpPolicy, spoken: Spoken, key: &MasterKey) -> Protection {
    match (policy, spoken) {
        (SrtpPolicy::Off, _) | (SrtpPolicy::Offer, Spoken::Plain) => Protection::Plain,
        (SrtpPolicy::Offer | SrtpPolicy::Require, Spoken::Sdes { tag, suite, secure_profile }) => {
            Protection::Encrypted { secure_profile, attributes: vec![attribute(tag, suite, key)] }
        }
        (SrtpPolicy::Offer | SrtpPolicy::Require, Spoken::Unknown | Spoken::Plain) => {
            let lines = Suite::ALL.into_iter().zip(1..).map(|(suite, tag)| attribute(tag, suite, key));
            // In the plain profile, most peers that do not know keys still take the call.
            Protection::Encrypted { secure_profile: policy == SrtpPolicy::Require, attributes: lines.collect() }
        }
    }
}

fn attribute(tag: u32, suite: Suite, key: &MasterKey) -> String {
    format!("a=crypto:{tag} {} inline:{}", suite.name(), key.to_base64())
}
