//! Moonshine tiny-en on `rten`: seconds of speech to text.
//!
//! In: mono audio at 16 kHz. Out: [`Transcript`]. Pure computation of bounded length; a driver gives it a thread. One
//! recogniser computes on one core; [`Recogniser::another`] shares the weights for a second one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use super::book::{Book, Doubt, Instead};
use super::pattern::is_digit;
use super::text::{digit_words, with_digit};
use super::tokenizer::Tokenizer;
use super::transcript::{PassedOver, Transcript, Weighed};
use crate::units::{Ratio, read_bytes};

/// Most samples of one run: 12 s. Its cost grows faster than its length.
const LONGEST: usize = 12 * RATE;

/// Fewest samples of one run. Shorter audio holds no word, and the encoder needs some.
const SHORTEST: usize = RATE / 4;

/// Samples of a second, as the model hears them.
const RATE: usize = 16_000;

// The shape of the model's decoder.
const LAYERS: usize = 6;
const HEADS: usize = 8;
const HEAD_SIZE: usize = 36;

/// Token before the first one of a text, and token behind the last one.
const START: i32 = 1;
const END: u32 = 2;

/// Most doubts that are weighed in one text; each takes about as long as recognising the text.
const MOST_DOUBTS: usize = 2;

/// Tokens behind the doubted words that are scored with them.
const CONTEXT: usize = 4;

/// Probability of a word, where another one was written, from which it is asked how the words behind it fit.
const WORTH_ASKING: f32 = 0.003;

/// Most places of one text at which is asked so; each takes one run of the decoder.
const MOST_PASSED_OVER: usize = 2;

/// Most phrases that are listened for so.
const MOST_INSTEAD: usize = 8;

/// More tokens a second than anybody says: beyond it, the model repeats itself.
const TOKENS_PER_SECOND: f32 = 6.5;

/// Why the words are switched off.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{path}: {why}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file is not what it should be.
    #[error("{file}: {why}")]
    Damaged {
        /// Which.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A run failed.
    #[error("the speech model failed: {0}")]
    Run(String),
}

/// A place of a text at which the first word of an [`Instead`] was possible, and another one was written.
#[derive(Clone, Copy, Debug)]
struct Possible {
    /// Tokens before it.
    at: usize,
    /// Which phrase, as [`Book::instead`] counts them.
    phrase: usize,
    /// The word's first token.
    token: u32,
    probability: f32,
}

/// A text, as tokens.
struct Decoded {
    tokens: Vec<u32>,
    /// Mean probability of the tokens.
    confidence: Ratio,
    /// Where something else was possible.
    possible: Vec<Possible>,
}

/// The model, ready to run.
pub struct Recogniser {
    shared: Arc<Shared>,
    pool: Arc<ThreadPool>,
}

struct Shared {
    encoder: Model,
    decoder: Model,
    tokenizer: Tokenizer,
    nodes: Nodes,
    /// Tokens with which digits begin, as names and as numbers.
    digits: BTreeSet<u32>,
}

/// Inputs and outputs of encoder and decoder.
struct Nodes {
    audio: NodeId,
    audio_mask: NodeId,
    states: NodeId,
    token: NodeId,
    token_states: NodeId,
    token_mask: NodeId,
    use_cache: NodeId,
    /// In the order of [`past_names`].
    past: Vec<NodeId>,
    logits: NodeId,
    present: Vec<NodeId>,
}

fn past_names() -> impl Iterator<Item = String> {
    let kinds = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"];
    (0..LAYERS).flat_map(move |layer| kinds.map(|kind| format!("{layer}.{kind}")))
}

impl Nodes {
    fn find(encoder: &Model, decoder: &Model) -> Result<Self, ModelError> {
        let node = |model: &Model, file: &'static str, name: &str| {
            model.find_node(name).ok_or_else(|| ModelError::Damaged { file, why: format!("it has no `{name}`") })
        };
        let of_encoder = |name: &str| node(encoder, "encoder.onnx", name);
        let of_decoder = |name: &str| node(decoder, "decoder.onnx", name);
        Ok(Self {
            audio: of_encoder("input_values")?,
            audio_mask: of_encoder("attention_mask")?,
            states: of_encoder("last_hidden_state")?,
            token: of_decoder("input_ids")?,
            token_states: of_decoder("encoder_hidden_states")?,
            token_mask: of_decoder("encoder_attention_mask")?,
            use_cache: of_decoder("use_cache_branch")?,
            past: past_names().map(|name| of_decoder(&format!("past_key_values.{name}"))).collect::<Result<_, _>>()?,
            logits: of_decoder("logits")?,
            present: past_names().map(|name| of_decoder(&format!("present.{name}"))).collect::<Result<_, _>>()?,
        })
    }
}

/// Mebibytes of one of the model's files; the largest of the usual one has 29.
const MOST_MODEL: u64 = 1_024;

impl Recogniser {
    /// Loads the three files of `folder`: about 0.15 s.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let read = |file: &str| {
            let path = folder.join(file);
            read_bytes(&path, MOST_MODEL).map_err(|error| ModelError::Unreadable { path, why: error.to_string() })
        };
        let model = |file: &'static str| {
            Model::load(read(file)?).map_err(|error| ModelError::Damaged { file, why: error.to_string() })
        };
        let tokenizer = Tokenizer::read(&read("tokenizer.bin")?)?;
        let (encoder, decoder) = (model("encoder.onnx")?, model("decoder.onnx")?);
        let nodes = Nodes::find(&encoder, &decoder)?;
        // All numbers begin with one token, a space. As many as there are, it is one probability.
        let digits: BTreeSet<u32> = digit_words().filter_map(|word| tokenizer.word(&word).first().copied()).collect();
        let shared = Arc::new(Shared { encoder, decoder, tokenizer, nodes, digits });
        Ok(Self { shared, pool: Arc::new(ThreadPool::with_num_threads(1)) })
    }

    /// A second one on the same weights, for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), pool: Arc::new(ThreadPool::with_num_threads(1)) }
    }

    /// Does `op` on the thread that computes for this recogniser, so that the time it takes can be measured there.
    pub fn on_its_thread<R: Send>(&self, op: impl FnOnce() -> R + Send) -> R {
        self.pool.run(op)
    }

    /// What is said in `audio`: mono, 16 kHz, full scale 1.0. Of longer audio only the last 12 s are heard. Words of
    /// the text that `book` doubts are weighed.
    pub fn transcribe(&self, audio: &[f32], book: &Book) -> Result<Transcript, ModelError> {
        let audio = audio.get(audio.len().saturating_sub(LONGEST)..).unwrap_or_default();
        if audio.len() < SHORTEST {
            return Ok(Transcript {
                text: String::new(),
                confidence: Ratio::ZERO,
                weighed: Vec::new(),
                passed_over: Vec::new(),
            });
        }
        let failed = |error: Box<dyn std::error::Error>| ModelError::Run(error.to_string());
        let states = self.encode(audio).map_err(failed)?;
        let firsts = self.first_tokens(book);
        let Decoded { tokens, confidence, possible } = self.decode(audio.len(), &states, &firsts).map_err(failed)?;
        let text = self.shared.tokenizer.text(&tokens);
        let mut weighed = Vec::new();
        for doubt in book.doubts(&text).into_iter().take(MOST_DOUBTS) {
            if let Some(log_ratio) = self.weigh(audio.len(), &states, &tokens, &doubt).map_err(failed)? {
                weighed.push(Weighed { phrase: doubt.phrase, log_ratio });
            }
        }
        let passed_over = self.passed_over(audio.len(), &states, &tokens, &possible, book).map_err(failed)?;
        Ok(Transcript { text, confidence, weighed, passed_over })
    }

    /// Tokens with which a phrase may begin that is listened for between the words, each with the phrase's place.
    fn first_tokens(&self, book: &Book) -> Vec<(usize, u32)> {
        let mut firsts = Vec::new();
        for (n, Instead { words, .. }) in book.instead().enumerate().take(MOST_INSTEAD) {
            let Some(word) = words.first() else { continue };
            let tokens = [self.shared.tokenizer.word(word), self.shared.tokenizer.word(&capitalised(word))];
            firsts.extend(tokens.iter().filter_map(|tokens| tokens.first()).map(|token| (n, *token)));
        }
        firsts
    }

    /// How probable is each phrase at the likeliest of the places where it is `possible`?
    fn passed_over(
        &self,
        length: usize,
        states: &Tensor<f32>,
        tokens: &[u32],
        possible: &[Possible],
        book: &Book,
    ) -> Result<Vec<PassedOver>, Box<dyn std::error::Error>> {
        let mut likeliest = possible.to_vec();
        likeliest.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        let mut found: Vec<PassedOver> = Vec::new();
        for Possible { at, phrase, token, probability } in likeliest.into_iter().take(MOST_PASSED_OVER) {
            let Some(Instead { phrase, words, .. }) = book.instead().nth(phrase) else { continue };
            let before = tokens.get(..at).unwrap_or_default();
            if !book.counts_behind(phrase, &self.shared.tokenizer.text(before)) {
                continue;
            }
            let rest = self.goes_on(length, states, &[before, &[token]].concat(), words)?;
            let probability = Ratio::clamped(probability * rest);
            match found.iter_mut().find(|known| known.phrase == *phrase) {
                Some(known) if known.probability >= probability => {}
                Some(known) => known.probability = probability,
                None => found.push(PassedOver { phrase: Arc::clone(phrase), probability }),
            }
        }
        Ok(found)
    }

    /// Probability that behind `text`, which ends with the first token of `words`, the others follow. For a digit any
    /// digit will do.
    fn goes_on(
        &self,
        length: usize,
        states: &Tensor<f32>,
        text: &[u32],
        words: &[String],
    ) -> Result<f32, Box<dyn std::error::Error>> {
        let Shared { tokenizer, digits, .. } = &*self.shared;
        let Some((first, others)) = words.split_first() else { return Ok(0.0) };
        let spellings = [first.clone(), capitalised(first)].map(|word| tokenizer.word(&word));
        let begun = spellings.into_iter().find(|tokens| tokens.first() == text.last()).unwrap_or_default();
        let mut steps: Vec<Vec<u32>> = begun.into_iter().skip(1).map(|token| vec![token]).collect();
        for word in others {
            if is_digit(&with_digit(word)) {
                steps.push(digits.iter().copied().collect());
            } else {
                steps.extend(tokenizer.word(word).into_iter().map(|token| vec![token]));
            }
        }
        let Some((_, before_the_last)) = steps.split_last() else { return Ok(1.0) };
        let forced = before_the_last.iter().filter_map(|step| step.first().copied());
        let text: Vec<u32> = text.iter().copied().chain(forced).collect();
        let (rows, width) = self.logits(length, states, &text)?;
        // The row behind all of `text` is the last one.
        let rows = rows.chunks(width).skip(text.len() + 1 - steps.len()).map(Row::new);
        let probability =
            |(step, row): (&Vec<u32>, Row<'_>)| -> f32 { step.iter().map(|token| row.probability(*token)).sum() };
        Ok(steps.iter().zip(rows).map(probability).product())
    }

    /// The log-ratio of a doubt, by forced scoring: how probable is the text with the words that are doubted, and with
    /// those that they may have been, in any spelling that the model uses?
    fn weigh(
        &self,
        length: usize,
        states: &Tensor<f32>,
        tokens: &[u32],
        doubt: &Doubt,
    ) -> Result<Option<f32>, Box<dyn std::error::Error>> {
        let tokenizer = &self.shared.tokenizer;
        // The text was trimmed; the first token begins with the space that was cut off.
        let ends: Vec<usize> = tokenizer.ends(tokens).into_iter().map(|end| end.saturating_sub(1)).collect();
        let from = ends.iter().take_while(|end| **end <= doubt.said.start).count();
        let to = ends.iter().take_while(|end| **end < doubt.said.end).count() + 1;
        let (Some(before), Some(said)) = (tokens.get(..from), tokens.get(from..to)) else { return Ok(None) };
        let after = tokens.get(to..(to + CONTEXT).min(tokens.len())).unwrap_or_default();
        let log_probability = |words: &[u32]| {
            let text = [before, words, after].concat();
            self.log_probability(length, states, &text, from)
        };
        let as_said = log_probability(said)?;
        let mut best = f32::NEG_INFINITY;
        for capital in [false, true] {
            for digits in [false, true] {
                let spelled = |(n, word): (usize, &String)| {
                    let word = if digits { with_digit(word) } else { word.clone() };
                    if capital && n == 0 { capitalised(&word) } else { word }
                };
                let words: Vec<u32> =
                    doubt.instead.iter().enumerate().map(spelled).flat_map(|word| tokenizer.word(&word)).collect();
                best = best.max(log_probability(&words)?);
            }
        }
        Ok(Some(best - as_said))
    }

    /// Log-probability of `text` from its token `from` on, all tokens in one run.
    fn log_probability(
        &self,
        length: usize,
        states: &Tensor<f32>,
        text: &[u32],
        from: usize,
    ) -> Result<f32, Box<dyn std::error::Error>> {
        let (rows, width) = self.logits(length, states, text)?;
        let mut sum = 0.0;
        for (row, token) in rows.chunks(width).zip(text).skip(from) {
            sum += Row::new(row).log_probability(*token);
        }
        Ok(sum)
    }

    /// What the decoder makes of each place of `text` and of the one behind it, all in one run: the logits, row by
    /// row, and the length of a row.
    fn logits(
        &self,
        length: usize,
        states: &Tensor<f32>,
        text: &[u32],
    ) -> Result<(Vec<f32>, usize), Box<dyn std::error::Error>> {
        let Shared { decoder, nodes, .. } = &*self.shared;
        let mut input = vec![START];
        for token in text {
            input.push(i32::try_from(*token)?);
        }
        let count = input.len();
        let input = Tensor::from_data(&[1, count], input);
        let mask = Tensor::<i32>::full(&[1, length], 1);
        let cached = Tensor::from_data(&[1], vec![0i32]);
        let past: Vec<Value> = vec![NdTensor::<f32, 4>::zeros([1, HEADS, 0, HEAD_SIZE]).into(); nodes.past.len()];
        let mut inputs: Vec<(NodeId, ValueOrView)> = vec![
            (nodes.token, input.view().into()),
            (nodes.token_states, states.view().into()),
            (nodes.token_mask, mask.view().into()),
            (nodes.use_cache, cached.view().into()),
        ];
        inputs.extend(nodes.past.iter().zip(&past).map(|(node, value)| (*node, value.into())));
        let [logits] = decoder.run_n(inputs, [nodes.logits], self.options())?;
        let logits: Tensor<f32> = logits.try_into()?;
        let rows = logits.data().ok_or("logits are not contiguous")?.to_vec();
        let width = rows.len() / count;
        Ok((rows, width))
    }

    fn options(&self) -> Option<RunOptions> {
        Some(RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool))))
    }

    fn encode(&self, audio: &[f32]) -> Result<Tensor<f32>, Box<dyn std::error::Error>> {
        let Shared { encoder, nodes, .. } = &*self.shared;
        let length = audio.len();
        let samples = Tensor::from_data(&[1, length], audio.to_vec());
        let mask = Tensor::<i32>::full(&[1, length], 1);
        let inputs: Vec<(NodeId, ValueOrView)> =
            vec![(nodes.audio, samples.view().into()), (nodes.audio_mask, mask.view().into())];
        let [states] = encoder.run_n(inputs, [nodes.states], self.options())?;
        Ok(states.try_into()?)
    }

    /// The likeliest text, and where one of `firsts` was possible besides.
    fn decode(
        &self,
        length: usize,
        states: &Tensor<f32>,
        firsts: &[(usize, u32)],
    ) -> Result<Decoded, Box<dyn std::error::Error>> {
        let Shared { decoder, nodes, .. } = &*self.shared;
        let mask = Tensor::<i32>::full(&[1, length], 1);
        let mut past: Vec<Value> = vec![NdTensor::<f32, 4>::zeros([1, HEADS, 0, HEAD_SIZE]).into(); nodes.past.len()];
        let outputs: Vec<NodeId> = std::iter::once(nodes.logits).chain(nodes.present.iter().copied()).collect();
        let limit = (length as f32 / RATE as f32 * TOKENS_PER_SECOND).ceil() as usize;
        let (mut tokens, mut probabilities, mut possible) = (Vec::new(), 0.0f32, Vec::new());
        let mut token = START;
        for step in 0..=limit {
            let input = Tensor::from_data(&[1, 1], vec![token]);
            let cached = Tensor::from_data(&[1], vec![i32::from(step > 0)]);
            let mut inputs: Vec<(NodeId, ValueOrView)> = vec![
                (nodes.token, input.view().into()),
                (nodes.token_states, states.view().into()),
                (nodes.token_mask, mask.view().into()),
                (nodes.use_cache, cached.view().into()),
            ];
            inputs.extend(nodes.past.iter().zip(&past).map(|(node, value)| (*node, value.into())));
            let mut run = decoder.run(inputs, &outputs, self.options())?.into_iter();
            let logits: Tensor<f32> = run.next().ok_or("no logits")?.try_into()?;
            for (n, (slot, value)) in past.iter_mut().zip(run).enumerate() {
                // Keys and values of the encoder stay those of the first step; later steps return them empty.
                let of_encoder = n % 4 >= 2;
                if step == 0 || !of_encoder {
                    *slot = value;
                }
            }
            let row = Row::new(logits.data().ok_or("logits are not contiguous")?);
            let best = row.best();
            possible.extend(row.passed_over(best, tokens.len(), firsts));
            if best == END || repeats(&tokens, best) {
                break;
            }
            tokens.push(best);
            probabilities += row.probability(best);
            token = i32::try_from(best)?;
        }
        let confidence = Ratio::clamped(probabilities / tokens.len().max(1) as f32);
        Ok(Decoded { tokens, confidence, possible })
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What the decoder makes of one place of a text.
struct Row<'a> {
    logits: &'a [f32],
    highest: f32,
    /// Sum of all exponentials, with the highest logit at 0.
    total: f32,
}

impl<'a> Row<'a> {
    fn new(logits: &'a [f32]) -> Self {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total = logits.iter().map(|logit| (logit - highest).exp()).sum();
        Self { logits, highest, total }
    }

    /// The strongest token.
    fn best(&self) -> u32 {
        let best = self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(n, _)| n);
        u32::try_from(best).unwrap_or(END)
    }

    /// Natural logarithm of a token's probability. No token that the model does not know is probable.
    fn log_probability(&self, token: u32) -> f32 {
        let logit = self.logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        logit - self.highest - self.total.ln()
    }

    fn probability(&self, token: u32) -> f32 {
        self.log_probability(token).exp()
    }

    /// Which of `firsts` were possible where `best` is written.
    fn passed_over(&self, best: u32, at: usize, firsts: &[(usize, u32)]) -> Vec<Possible> {
        if firsts.iter().any(|(_, token)| *token == best) {
            return Vec::new();
        }
        let possible = |(phrase, token): &(usize, u32)| Possible {
            at,
            phrase: *phrase,
            token: *token,
            probability: self.probability(*token),
        };
        firsts.iter().map(possible).filter(|possible| possible.probability >= WORTH_ASKING).collect()
    }
}

/// Does the model go round in circles? That is, do one to four tokens come for the fourth time in a row?
fn repeats(tokens: &[u32], next: u32) -> bool {
    let mut all = tokens.to_vec();
    all.push(next);
    (1..=4).any(|length| {
        let Some(tail) = all.len().checked_sub(4 * length).and_then(|from| all.get(from..)) else { return false };
        let Some(first) = tail.get(..length) else { return false };
        tail.chunks(length).all(|chunk| chunk == first)
    })
}

/// Telephone audio as the recogniser takes it: from 8 to 16 kHz, full scale 1.0, quiet speech amplified.
#[must_use]
pub fn to_recogniser(samples: &[i16]) -> Vec<f32> {
    /// Half-band filter, odd taps from the centre outwards: pass band to 3.4 kHz, image 40 dB down.
    const TAPS: [f32; 8] = [0.6246, -0.1918, 0.0967, -0.0528, 0.0283, -0.0140, 0.0060, -0.0020];
    let peak = samples.iter().map(|sample| f32::from(*sample).abs()).fold(0.0f32, f32::max);
    // At most 12 dB: that lifts quiet speech, and not mere noise.
    let gain = (16_000.0 / peak.max(1.0)).clamp(1.0, 4.0) / 32_768.0;
    let at = |index: isize| {
        usize::try_from(index).ok().and_then(|index| samples.get(index)).map_or(0.0, |sample| f32::from(*sample))
    };
    let mut doubled = Vec::with_capacity(2 * samples.len());
    for n in 0..samples.len() as isize {
        doubled.push(at(n) * gain);
        let between: f32 = TAPS
            .iter()
            .enumerate()
            .map(|(tap, weight)| weight * (at(n - tap as isize) + at(n + 1 + tap as isize)))
            .sum();
        doubled.push(between * gain);
    }
    doubled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_missing_model_names_the_file() {
        let error = Recogniser::load(Path::new("/nowhere")).err().unwrap();

        assert!(error.to_string().starts_with("/nowhere/tokenizer.bin: "), "{error}");
    }

    #[test]
    fn a_pipe_in_the_models_place_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("tokenizer.bin")).status().unwrap();
        assert!(pipe.success());

        let error = Recogniser::load(folder.path()).err().unwrap();

        assert!(error.to_string().ends_with("it is no file, but a folder, pipe or device"), "{error}");
    }

    #[test]
    fn what_all_numbers_begin_with_counts_once() {
        let recogniser = Recogniser::load(Path::new("config/models/moonshine-tiny-en")).unwrap();

        assert_eq!(recogniser.shared.digits.len(), 11, "ten names, and the space before a number");
    }

    #[test]
    fn circles_are_noticed() {
        assert!(repeats(&[7, 7, 7], 7));
        assert!(repeats(&[1, 2, 1, 2, 1, 2, 1], 2));
        assert!(!repeats(&[1, 2, 1, 2, 1, 2, 1], 3));
    }

    #[test]
    fn a_tone_keeps_its_level_when_doubled() {
        let tone: Vec<i16> = (0..800).map(|n| ((n as f32 * 0.785).sin() * 16_000.0) as i16).collect();
        let doubled = to_recogniser(&tone);

        let peak = doubled[200..1_400].iter().copied().fold(0.0f32, f32::max);
        assert_eq!(doubled.len(), 1_600);
        assert!((0.46..0.52).contains(&peak), "{peak}");
    }
}
