//! A picture of one call: both waveforms, talkspurts, words, evidence, the moment of the decision. SVG.

use std::fmt::Write as _;

use super::hear::Heard;
use super::markup::escape;
use super::recording::Recording;
use crate::detect::evidence::{Evidence, Finding};
use crate::policy::action::StepUp;
use crate::policy::judge::Class;
use crate::units::{CallTime, Leg};

// Pixels: the picture, its left margin, the height of a waveform.
const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 90.0;
const WAVE: f64 = 90.0;
// Top of each lane, in pixels.
const CALLER: f64 = 60.0;
const CALLEE: f64 = 170.0;
const PROBABILITY: f64 = 290.0;
const WORDS: f64 = 420.0;
/// Most rows of words; of evidence there are twice as many. More would run out of the picture.
const ROWS: usize = 12;
const ROW: f64 = 16.0;
/// Pixels of a letter at size 11, on the wide side.
const LETTER: f64 = 5.8;
/// Longest text of a row, in letters: it fits to the left or to the right of wherever it stands.
const LONGEST: usize = 92;
/// Letters of the title.
const TITLE: usize = 120;
/// Pixels between two numbers of the axis, at least.
const APART: f64 = 40.0;
/// Behind letters, so that no line runs through them.
const HALO: &str = "paint-order=\"stroke\" stroke=\"white\" stroke-width=\"3\"";

struct Picture {
    svg: String,
    seconds: f64,
}

/// Draws a call.
#[must_use]
pub fn plot(title: &str, recording: &Recording, heard: &Heard) -> String {
    let seconds = (heard.length.as_secs_f64()).max(1.0);
    let mut picture = Picture { svg: String::new(), seconds };
    let words: Vec<&Evidence> = heard.evidence.iter().filter(|e| matches!(e.finding, Finding::Words { .. })).collect();
    let marks: Vec<&Evidence> = heard.evidence.iter().filter(|e| is_mark(&e.finding)).collect();
    let evidence_top = WORDS + 30.0 + ROW * words.len().min(ROWS) as f64;
    let height = evidence_top + 40.0 + ROW * marks.len().min(2 * ROWS) as f64;
    let _ = writeln!(
        picture.svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    // Of a long path, its end says which.
    let skipped = title.chars().count().saturating_sub(TITLE);
    let title: String = title.chars().skip(skipped).collect();
    picture.text(LEFT, 24.0, "#222", 15, &title);
    picture.seconds_axis(height);
    picture.wave(CALLER, "#2b6cb0", "caller", &recording.caller);
    picture.wave(CALLEE, "#718096", "callee", &recording.callee);
    picture.talkspurts(heard);
    picture.probabilities(heard);
    picture.decisions(heard, height);
    picture.words(&words);
    picture.evidence(&marks, evidence_top);
    picture.svg.push_str("</svg>\n");
    picture.svg
}

/// Is this worth a line? Talkspurts and words have lanes of their own.
fn is_mark(finding: &Finding) -> bool {
    match finding {
        Finding::Onset { .. }
        | Finding::TalkOver { .. }
        | Finding::Yield { .. }
        | Finding::Reply { .. }
        | Finding::NoReply
        | Finding::Tone { .. }
        | Finding::Music
        | Finding::KnownRecording { .. }
        | Finding::Screened { .. }
        | Finding::Phrase { .. } => true,
        Finding::Monologue { length } => length.as_millis() % 2_000 < 500,
        Finding::Talkspurt { .. } | Finding::Pause { .. } | Finding::Words { .. } | Finding::Wording { .. } => false,
    }
}

impl Picture {
    fn x(&self, at: CallTime) -> f64 {
        LEFT + (WIDTH - LEFT - 20.0) * (at.0.as_secs_f64() / self.seconds).min(1.05)
    }

    fn text(&mut self, x: f64, y: f64, colour: &str, size: u32, text: &str) {
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" font-size=\"{size}\" {HALO}>{}</text>",
            escape(text)
        );
    }

    /// Text at a time.
    fn note(&mut self, at: CallTime, y: f64, colour: &str, text: &str) {
        let (x, text) = (self.x(at), shortened(text));
        let (anchor, beside) = beside(x, &text);
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{colour}\"/>\
             <text x=\"{beside:.1}\" y=\"{y:.1}\" fill=\"{colour}\" text-anchor=\"{anchor}\" {HALO}>{}</text>",
            y - 4.0,
            escape(&text)
        );
    }

    fn seconds_axis(&mut self, height: f64) {
        for second in (0..=self.seconds as u64).step_by(step(self.seconds)) {
            let x = self.x(CallTime::from_millis(1_000 * second));
            let _ =
                writeln!(self.svg, "<line x1=\"{x:.1}\" y1=\"58\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"#edf2f7\"/>");
            self.text(x - 6.0, 54.0, "#718096", 10, &format!("{second} s"));
        }
    }

    fn wave(&mut self, top: f64, colour: &str, name: &str, samples: &[i16]) {
        self.text(10.0, top + WAVE / 2.0, colour, 12, name);
        let columns = (WIDTH - LEFT - 20.0) as usize;
        let mut path = String::new();
        for column in 0..columns {
            let range = column * samples.len() / columns..(column + 1) * samples.len() / columns;
            let slice = samples.get(range).unwrap_or_default();
            let (low, high) = slice.iter().fold((0i16, 0i16), |(low, high), s| (low.min(*s), high.max(*s)));
            let y = |sample: i16| top + WAVE / 2.0 - f64::from(sample) / 32_768.0 * WAVE / 2.0;
            let x = LEFT + column as f64;
            let _ = write!(path, "M{x:.0} {:.1}V{:.1}", y(high), y(low) + 0.5);
        }
        let _ = writeln!(self.svg, "<path d=\"{path}\" stroke=\"{colour}\" fill=\"none\"/>");
    }

    fn bar(&mut self, from: CallTime, to: CallTime, y: f64, height: f64, colour: &str) {
        let (x, end) = (self.x(from), self.x(to));
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height}\" fill=\"{colour}\"/>",
            (end - x).max(1.0)
        );
    }

    fn talkspurts(&mut self, heard: &Heard) {
        for evidence in &heard.evidence {
            if let Finding::Talkspurt { from, to, .. } = evidence.finding {
                let top = if evidence.leg == Leg::Caller { CALLER } else { CALLEE };
                self.bar(from, to, top + WAVE, 5.0, "#48bb78");
            }
        }
    }

    fn probabilities(&mut self, heard: &Heard) {
        self.text(10.0, PROBABILITY + 20.0, "#c53030", 11, "press_key");
        self.text(10.0, PROBABILITY + 34.0, "#b7791f", 11, "recorded");
        self.text(10.0, PROBABILITY + 48.0, "#2f855a", 11, "live");
        for (class, colour) in [(Class::Live, "#2f855a"), (Class::Recorded, "#b7791f"), (Class::PressKey, "#c53030")] {
            let mut path = String::new();
            for verdict in &heard.verdicts {
                let (x, y) = (self.x(verdict.at), PROBABILITY + 100.0 * (1.0 - f64::from(verdict.of(class).get())));
                let _ = if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
            }
            if !path.is_empty() {
                let end = self.x(CallTime(heard.length));
                let _ = writeln!(
                    self.svg,
                    "<path d=\"{path}H{end:.1}\" stroke=\"{colour}\" fill=\"none\" stroke-width=\"1.5\"/>"
                );
            }
        }
    }

    /// What was said, each beneath the time in which it was.
    fn words(&mut self, words: &[&Evidence]) {
        self.text(10.0, WORDS, "#222", 11, "words, when");
        self.text(10.0, WORDS + 13.0, "#222", 11, "known");
        for (row, evidence) in words.iter().take(ROWS).enumerate() {
            if let Finding::Words { text, from, to, .. } = &evidence.finding {
                let y = WORDS + ROW * row as f64;
                // Between the letters of this row and of the next.
                self.bar(*from, *to, y + 4.0, 2.0, "#9ae6b4");
                self.note(evidence.at, y, "#276749", text);
            }
        }
        self.more(WORDS, "#276749", words.len(), ROWS);
    }

    fn evidence(&mut self, marks: &[&Evidence], top: f64) {
        const MARKS: usize = 2 * ROWS;
        self.text(10.0, top, "#222", 11, "evidence");
        for (row, evidence) in marks.iter().take(MARKS).enumerate() {
            self.note(evidence.at, top + ROW * row as f64, "#744210", &evidence.finding.to_string());
        }
        self.more(top, "#744210", marks.len(), MARKS);
    }

    /// Says what is not shown, behind the rows that begin at `top`.
    fn more(&mut self, top: f64, colour: &str, all: usize, shown: usize) {
        if all > shown {
            let text = format!("({} more are not shown)", all - shown);
            self.text(LEFT, top + ROW * shown as f64, colour, 11, &text);
        }
    }

    /// A line for each, and their names in a row above: two that lie close share a label.
    fn decisions(&mut self, heard: &Heard, height: f64) {
        let mut labels: Vec<(f64, &str, String)> = Vec::new();
        for step in &heard.steps {
            let colour = if step.decision.action >= StepUp::Divert { "#c53030" } else { "#dd6b20" };
            let x = self.x(step.at);
            let _ = writeln!(
                self.svg,
                "<line x1=\"{x:.1}\" y1=\"58\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"{colour}\" \
                 stroke-dasharray=\"4 3\"/>"
            );
            let label = format!("{} {}", step.decision.action.label(), step.at);
            match labels.last_mut() {
                Some((from, last, text)) if x < *from + 1.1 * width(text) + 10.0 => {
                    *last = colour;
                    *text += &format!(", {label}");
                }
                _ => labels.push((x, colour, label)),
            }
        }
        for (x, colour, label) in labels {
            let (anchor, beside) = beside(x, &label);
            let _ = writeln!(
                self.svg,
                "<text x=\"{beside:.1}\" y=\"40\" fill=\"{colour}\" text-anchor=\"{anchor}\" font-size=\"12\" \
                 {HALO}>{}</text>",
                escape(&label)
            );
        }
    }
}

/// Seconds between two numbers of the axis.
fn step(seconds: f64) -> usize {
    const STEPS: [usize; 10] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
    let fits = |step: &usize| (WIDTH - LEFT - 20.0) * *step as f64 / seconds >= APART;
    STEPS.into_iter().find(fits).unwrap_or(3_600)
}

fn width(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['\u{2026}']).collect()
}

/// How text stands that begins at `x`, and where; to its left where there is no room to its right.
fn beside(x: f64, text: &str) -> (&'static str, f64) {
    if x + 5.0 + width(text) > WIDTH { ("end", x - 5.0) } else { ("start", x + 5.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_of_the_axis_lie_over_each_other() {
        for seconds in [1.0, 20.0, 27.0, 45.0, 60.0, 61.0, 300.0, 601.0, 3_600.0, 20_000.0] {
            let apart = (WIDTH - LEFT - 20.0) * step(seconds) as f64 / seconds;
            assert!(apart >= APART, "{seconds} s: {apart}");
        }
        assert_eq!((step(20.0), step(60.0), step(300.0)), (1, 5, 20));
    }

    #[test]
    fn no_text_runs_out_of_the_picture() {
        let long = shortened(&"thank you ".repeat(30));
        assert!(long.ends_with('\u{2026}') && long.chars().count() == LONGEST);
        for x in (0..WIDTH as usize).map(|x| x as f64).filter(|x| *x >= LEFT) {
            for text in ["divert 6.4 s", &long] {
                let (left, right) = match beside(x, text) {
                    ("end", x) => (x - width(text), x),
                    (_, x) => (x, x + width(text)),
                };
                assert!(left >= 0.0 && right <= WIDTH, "{x}: {left} to {right}");
            }
        }
    }
}
