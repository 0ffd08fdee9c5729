//! The fixed list of measures that the judge weighs. Their values come from a [`Tally`](super::Tally).

/// A measure: one term of each sum, between 0 and about 1, or -3 and 3 for the two wordings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// The first speech came late: 0 at 2 s after the answer, 1 at 6 s.
    LateOnset,
    /// The first speech came while the callee was speaking.
    OnsetOver,
    /// The first speech came before the callee had spoken.
    OnsetFirst,
    /// The first speech came within a second after the callee's.
    OnsetReply,
    /// Speech with only breaths: 0 at 2 s, 1 at 6 s.
    Monologue,
    /// Speech with only breaths: 0 at 6 s, 1 at 12 s.
    LongMonologue,
    /// Longest talk-over: 1 at 1.5 s.
    TalkOver,
    /// Times the caller yielded: 1 at two.
    Yields,
    /// Replies after the first: 1 at three.
    Replies,
    /// Callee's turns without a reply: 1 at two.
    NoReply,
    /// Evenness of level between talkspurts: 1 where all are alike, 0 at a spread of 5 dB.
    Evenness,
    /// Pauses over a second: 1 at two.
    LongPauses,
    /// Weight of phrases of known frauds.
    Scam,
    /// Weight of key prompts.
    KeyPrompt,
    /// Weight of call-back prompts.
    CallBack,
    /// Weight of what lawful recordings say.
    Lawful,
    /// Weight of what only machines say, lawful or not.
    Automated,
    /// Weight of what only people say.
    Talk,
    /// A scam's phrases and a prompt in one message: the lesser of `Scam` and of the greater of the two prompts.
    ScamAndPrompt,
    /// Words were recognised, at least eight, and none of them is in the phrase file.
    NothingKnown,
    /// Words were recognised, and nothing that people say is among them: 0 at 6 words in a row, 1 at 14.
    NoTalk,
    /// The caller's audio is that of a known scam's recording.
    KnownRecording,
    /// The caller talked on over a prompt that was played to it.
    PromptTalkedOn,
    /// The caller fell silent for a prompt.
    PromptYielded,
    /// The caller let a prompt end, and answered it.
    PromptAnswered,
    /// Choice of words: a machine's (positive) or a person's.
    WordingAutomated,
    /// Choice of words: a scam's (positive) or a lawful recording's.
    WordingScam,
}

impl Measure {
    /// How many measures there are.
    pub const COUNT: usize = 27;

    /// All, in the order of [`Tally::measures`](super::Tally::measures).
    pub const ALL: [Measure; Self::COUNT] = [
        Self::LateOnset,
        Self::OnsetOver,
        Self::OnsetFirst,
        Self::OnsetReply,
        Self::Monologue,
        Self::LongMonologue,
        Self::TalkOver,
        Self::Yields,
        Self::Replies,
        Self::NoReply,
        Self::Evenness,
        Self::LongPauses,
        Self::Scam,
        Self::KeyPrompt,
        Self::CallBack,
        Self::Lawful,
        Self::Automated,
        Self::Talk,
        Self::ScamAndPrompt,
        Self::NothingKnown,
        Self::NoTalk,
        Self::KnownRecording,
        Self::PromptTalkedOn,
        Self::PromptYielded,
        Self::PromptAnswered,
        Self::WordingAutomated,
        Self::WordingScam,
    ];

    /// Name of its weight in the weights file.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::LateOnset => "late_onset",
            Self::OnsetOver => "onset_over",
            Self::OnsetFirst => "onset_first",
            Self::OnsetReply => "onset_reply",
            Self::Monologue => "monologue",
            Self::LongMonologue => "long_monologue",
            Self::TalkOver => "talk_over",
            Self::Yields => "yields",
            Self::Replies => "replies",
            Self::NoReply => "no_reply",
            Self::Evenness => "evenness",
            Self::LongPauses => "long_pauses",
            Self::Scam => "scam",
            Self::KeyPrompt => "key_prompt",
            Self::CallBack => "call_back",
            Self::Lawful => "lawful",
            Self::Automated => "automated",
            Self::Talk => "talk",
            Self::ScamAndPrompt => "scam_and_prompt",
            Self::NothingKnown => "nothing_known",
            Self::NoTalk => "no_talk",
            Self::KnownRecording => "known_recording",
            Self::PromptTalkedOn => "prompt_talked_on",
            Self::PromptYielded => "prompt_yielded",
            Self::PromptAnswered => "prompt_answered",
            Self::WordingAutomated => "wording_automated",
            Self::WordingScam => "wording_scam",
        }
    }
}
