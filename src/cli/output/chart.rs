//! A chart of scores over time: a self-contained SVG for light and dark pages.
//!
//! Invariant: one path a series, only finite coordinates inside the frame, and every text escaped.
//! Colours and fonts are plain attributes, so that renderers without CSS draw it too.

/// The frame within the chart, in pixels.
const LEFT: f64 = 72.0;
const TOP: f64 = 56.0;
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 300.0;
const LEGEND_WIDTH: f64 = 240.0;
const LEGEND_LINE: f64 = 20.0;
/// Lines beyond the number of colours are dashed.
const N_COLOURS: usize = 8;
/// The longest name in the legend.
const NAME_CHARS_MAX: usize = 24;

/// The light colours, as attributes: every renderer draws them.
const PAGE: &str = "#fff";
const INK: &str = "#222";
const FAINT: &str = "#ddd";
const COLOURS: [&str; N_COLOURS] = [
    "#1f6fb4", "#c8442f", "#23803f", "#8048a8", "#a86200", "#007a87", "#a83c74", "#5f6b12",
];
/// The dark colours, for renderers that know the preference of the page: rules beat attributes.
const DARK: &str = "\
@media (prefers-color-scheme:dark){.page{fill:#181818}text{fill:#ddd}.grid{stroke:#444}\
.ink{stroke:#ddd}.c0{stroke:#6cb6ff}.c1{stroke:#ff8a7a}.c2{stroke:#6fd08c}.c3{stroke:#c9a0ff}\
.c4{stroke:#f2b134}.c5{stroke:#4dd0e1}.c6{stroke:#f49ac2}.c7{stroke:#c5d86d}}";

/// One line of the chart.
pub(crate) struct ChartLine {
    /// The name in the legend.
    pub name: String,
    /// The number of examples, rising, and the score there; points that are not finite are skipped.
    pub points: Vec<(f64, f64)>,
    /// The style of the line.
    pub stroke: Stroke,
}

/// The style of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stroke {
    /// A colour of its own.
    Model,
    /// Grey and dotted: the baseline.
    Reference,
}

/// A chart of scores over time.
pub(crate) struct Chart {
    /// The title.
    pub title: String,
    /// The label of the vertical scale, with its unit.
    pub score: String,
    /// The lines, in the order of the legend.
    pub series: Vec<ChartLine>,
}

impl Chart {
    /// The chart as SVG.
    pub(crate) fn svg(&self) -> String {
        let all = self.series.iter().flat_map(|series| series.finite());
        let (mut x_max, mut low, mut high) = (0.0f64, f64::INFINITY, f64::NEG_INFINITY);
        for (x, y) in all {
            x_max = x_max.max(x);
            (low, high) = (low.min(y), high.max(y));
        }
        let x_ticks = Ticks::over(0.0, x_max.max(1.0));
        let y_ticks = if low <= high {
            Ticks::over(low, high)
        } else {
            Ticks::over(0.0, 1.0)
        };
        let frame = Frame {
            x_max: x_max.max(1.0),
            low: y_ticks.values[0],
            high: *y_ticks.values.last().expect("there are two at least"),
        };
        let legend = TOP + LEGEND_LINE * self.series.len() as f64;
        let (width, height) = (
            LEFT + WIDTH + LEGEND_WIDTH,
            (TOP + HEIGHT + 48.0).max(legend + 16.0),
        );
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n\
             <style>{DARK}</style>\n\
             <rect class=\"page\" fill=\"{PAGE}\" width=\"100%\" height=\"100%\"/>\n",
            escaped(&self.title)
        );
        svg += &text(LEFT, 22.0, Anchor::Title, &self.title);
        svg += &text(LEFT, 44.0, Anchor::Start, &self.score);
        svg += &frame.axes(&x_ticks, &y_ticks);
        let mut n_models = 0;
        for (index, series) in self.series.iter().enumerate() {
            svg += &frame.series(series, index, n_models);
            n_models += usize::from(series.stroke == Stroke::Model);
        }
        svg + "</svg>\n"
    }
}

impl ChartLine {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.points.iter().copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// The attributes of its line; `n_before` models come before it.
    fn paint(&self, n_before: usize) -> String {
        let (colour, round) = (n_before % N_COLOURS, n_before / N_COLOURS);
        let mut paint = match self.stroke {
            Stroke::Reference => format!(
                "class=\"ink\" stroke=\"{INK}\" stroke-opacity=\".6\" stroke-dasharray=\"2 3\""
            ),
            Stroke::Model => format!("class=\"c{colour}\" stroke=\"{}\"", COLOURS[colour]),
        };
        if self.stroke == Stroke::Model && round > 0 {
            paint += &format!(" stroke-dasharray=\"{} 3\"", 6 * round);
        }
        paint + " fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\""
    }
}

/// The ranges of the frame: examples from 0, scores between two ticks.
struct Frame {
    x_max: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x_max * WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        // Halved first: the distance between two finite numbers need not be one.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        TOP + (1.0 - share) * HEIGHT
    }

    fn axes(&self, x_ticks: &Ticks, y_ticks: &Ticks) -> String {
        let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
        let mut svg = String::new();
        for &value in &y_ticks.values {
            let y = self.y(value);
            svg += &format!(
                "<line class=\"grid\" stroke=\"{FAINT}\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\n"
            );
            svg += &text(LEFT - 8.0, y + 4.0, Anchor::End, &y_ticks.label(value));
        }
        let shown = x_ticks.values.iter().filter(|&&value| value <= self.x_max);
        for &value in shown {
            let (x, below) = (self.x(value), bottom + 5.0);
            svg += &format!(
                "<line class=\"grid\" stroke=\"{FAINT}\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{below}\"/>\n"
            );
            svg += &text(x, bottom + 20.0, Anchor::Middle, &count(value));
        }
        svg + &text(
            LEFT + WIDTH / 2.0,
            bottom + 38.0,
            Anchor::Middle,
            "examples",
        )
    }

    /// A line with its entry in the legend.
    fn series(&self, series: &ChartLine, index: usize, n_before: usize) -> String {
        let mut path = String::new();
        for (x, y) in series.finite() {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path += &format!("{command}{:.1} {:.1}", self.x(x), self.y(y));
        }
        let paint = series.paint(n_before);
        let (x, y) = (LEFT + WIDTH + 16.0, TOP + 4.0 + LEGEND_LINE * index as f64);
        let mut name: String = series.name.chars().take(NAME_CHARS_MAX).collect();
        if name.len() < series.name.len() {
            name.push('…');
        }
        format!(
            "<g><title>{}</title><path {paint} d=\"{path}\"/>\
             <line {paint} x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>\
             {}</g>\n",
            escaped(&series.name),
            x + 24.0,
            text(x + 32.0, y + 4.0, Anchor::Start, &name).trim_end()
        )
    }
}

/// Round numbers around a range: two to twelve of them.
struct Ticks {
    step: f64,
    values: Vec<f64>,
}

impl Ticks {
    fn over(low: f64, high: f64) -> Ticks {
        // A line that never moves stands in the middle.
        let room = if high - low > 1e-9 * low.abs().max(high.abs()) {
            0.0
        } else {
            low.abs().max(1e-6) * 0.1
        };
        let (low, high) = (low - room, high + room);
        let rough = (high - low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = factors.into_iter().find(|&step| step >= rough);
        let step = step.unwrap_or(rough);
        let first = (low / step + 1e-9).floor();
        let n_ticks = ((high / step - 1e-9).ceil() - first).clamp(1.0, 11.0) as usize;
        let values = (0..=n_ticks).map(|index| (first + index as f64) * step);
        Ticks {
            step,
            values: values.collect(),
        }
    }

    fn label(&self, value: f64) -> String {
        let decimals = -self.step.log10().floor();
        if (0.0..=6.0).contains(&decimals.max(0.0)) && value.abs() < 1e7 {
            format!("{value:.*}", decimals.max(0.0) as usize)
        } else {
            format!("{value:.1e}")
        }
    }
}

/// A number of examples, short.
fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e4 => format!("{}k", v / 1e3),
        v => v.to_string(),
    }
}

/// The place of a text: where its point lies, and for the title also its size.
#[derive(Clone, Copy)]
enum Anchor {
    Title,
    Start,
    Middle,
    End,
}

fn text(x: f64, y: f64, anchor: Anchor, text: &str) -> String {
    let text = escaped(text);
    let (anchor, size) = match anchor {
        Anchor::Title => ("start", "15\" font-weight=\"bold"),
        Anchor::Start => ("start", "13"),
        Anchor::Middle => ("middle", "13"),
        Anchor::End => ("end", "13"),
    };
    format!(
        "<text fill=\"{INK}\" font-family=\"sans-serif\" font-size=\"{size}\" \
         text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // XML has no way to write these.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<(&str, Vec<(f64, f64)>)>) -> Chart {
        let series = series.into_iter().map(|(name, points)| ChartLine {
            name: name.to_owned(),
            points,
            stroke: match name {
                "no change" => Stroke::Reference,
                _ => Stroke::Model,
            },
        });
        Chart {
            title: "a & b".to_owned(),
            score: "accuracy".to_owned(),
            series: series.collect(),
        }
    }

    /// Checks that tags close in order and texts are escaped; gives the data of each path.
    fn paths(svg: &str) -> Vec<String> {
        let (mut open, mut paths) = (Vec::new(), Vec::new());
        for piece in svg.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{piece}");
            let entities = text.match_indices('&');
            entities.for_each(|(at, _)| assert!(text[at..].contains(';'), "{piece}"));
            let name = tag.split([' ', '/']).find(|name| !name.is_empty());
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(closed));
            } else if !tag.ends_with('/') {
                open.push(name.expect("a name").to_owned());
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some((_, data)) = tag.split_once(" d=\"") {
                paths.push(data.split('"').next().expect("its end").to_owned());
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        paths
    }

    #[test]
    fn colours_and_fonts_are_attributes() {
        let names: Vec<String> = (0..=N_COLOURS).map(|n| format!("model {n}")).collect();
        let series = names.iter().map(|name| (name.as_str(), vec![(1.0, 0.5)]));
        let series = series.chain([("no change", vec![(1.0, 0.4)])]);
        let svg = chart(series.collect()).svg();
        for tag in svg.split('<').skip(1) {
            let drawn = match tag.split([' ', '>']).next() {
                Some("path" | "line") => [" stroke=\"#", " stroke=\"#"],
                Some("text") => [" fill=\"#", " font-size=\""],
                Some("rect") => [" fill=\"#", " fill=\"#"],
                _ => continue,
            };
            assert!(
                drawn.iter().all(|attribute| tag.contains(attribute)),
                "{tag}"
            );
        }
        let dashed = svg.matches("stroke-dasharray=\"6 3\"").count();
        assert_eq!(dashed, 2, "the ninth model, in the frame and in the legend");
    }

    /// Every point of a path lies within the frame.
    fn check_inside(path: &str) {
        for point in path.split(['M', 'L']).skip(1) {
            let (x, y) = point.split_once(' ').expect("two numbers");
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT - 0.1..=LEFT + WIDTH + 0.1).contains(&x), "{point}");
            assert!((TOP - 0.1..=TOP + HEIGHT + 0.1).contains(&y), "{point}");
        }
    }

    #[test]
    fn there_is_one_path_a_series_and_all_of_it_is_in_the_frame() {
        let rising = (1..=300).map(|n| (f64::from(n), 0.5 + f64::from(n) / 1000.0));
        let series = vec![
            ("<one> & \"two\"", rising.collect()),
            (
                "a name that is longer than the legend is wide",
                vec![(150.0, 0.25)],
            ),
            ("no change", vec![(10.0, 0.4), (300.0, 0.6)]),
        ];
        let svg = chart(series).svg();
        let paths = paths(&svg);
        assert_eq!(paths.len(), 3);
        paths.iter().for_each(|path| check_inside(path));
        assert_eq!(paths[0].matches('L').count(), 299);
        assert!(svg.contains("&lt;one&gt; &amp; &quot;two&quot;"));
        assert!(!svg.contains("var(") && !svg.contains("style="), "{svg}");
        for shown in ["0.2<", "0.8<", ">0<", ">300<", "prefers-color-scheme:dark"] {
            assert!(svg.contains(shown), "{shown}: {svg}");
        }
    }

    #[test]
    fn scores_of_any_size_are_drawn_and_nothing_else_is() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let extremes = [0.0, 1e-300, 1e30, -1e30, 1e100, -1e100, 0.5];
        for value in extremes {
            for other in extremes {
                let mut points = vec![(1.0, value), (2.0, other)];
                points.extend(odd.map(|y| (3.0, y)));
                let paths = paths(&chart(vec![("m", points)]).svg());
                assert_eq!(paths[0].matches(['M', 'L']).count(), 2, "{value} {other}");
                check_inside(&paths[0]);
            }
        }
        assert_eq!(paths(&chart(Vec::new()).svg()).len(), 0);
        assert_eq!(paths(&chart(vec![("m", Vec::new())]).svg()), [""]);
    }

    #[test]
    fn ticks_are_round_and_around_the_range() {
        let check = |low: f64, high: f64, expected: &[&str]| {
            let ticks = Ticks::over(low, high);
            let labels = ticks.values.iter().map(|&value| ticks.label(value));
            assert_eq!(labels.collect::<Vec<_>>(), expected);
        };
        check(0.0, 1.0, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(
            0.71,
            0.93,
            &["0.70", "0.75", "0.80", "0.85", "0.90", "0.95"],
        );
        check(
            0.0,
            45_312.0,
            &["0", "10000", "20000", "30000", "40000", "50000"],
        );
        check(1.0, 1.0, &["0.90", "0.95", "1.00", "1.05", "1.10"]);
        assert_eq!(["5000", "10k", "1.5M"], [5e3, 1e4, 1.5e6].map(count));
    }
}
