//! The charts, as SVG.

use super::table::cases;
use crate::cell::{Cell, Metric};
use crate::contender::Contender;
use crate::figures::{figure, thousands};
use crate::statistics::Spread;
use crate::works::{Case, Work};
use aio_core::Engine;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use servers::Server;
use std::io;
use std::ops::Range;

pub(super) struct Chart {
    pub(super) svg: String,
    pub(super) caption: String,
}

/// The charts of a work, of which there may be none.
pub(super) fn of(work: Work, cells: &[Cell]) -> io::Result<Vec<Chart>> {
    let connections = |cell: &Cell| Some(cell.case.connections as f64);
    let offered = |cell: &Cell| cell.measurement()?.offered_per_second;
    let lines = |metric, x: &dyn Fn(&Cell) -> Option<f64>, x_title, caption: &str| {
        lines(cells, &[work], metric, x, x_title, caption)
    };
    let bars = |metric, caption: &str| bars(cells, work, metric, caption);
    let charts = match work {
        Work::P1 => vec![
            lines(
                Metric::Cpu,
                &connections,
                "connections",
                "Server CPU per round trip against connections",
            )?,
            lines(
                Metric::Switches,
                &connections,
                "connections",
                "Context switches of the server per round trip against connections",
            )?,
            lines(
                Metric::P99,
                &connections,
                "connections",
                "99th percentile latency against connections, closed loop",
            )?,
        ],
        Work::P3 => vec![bars(Metric::P50, "Median latency over one connection")?],
        Work::P4 => vec![
            lines(
                Metric::P99,
                &offered,
                "messages offered per second",
                "99th percentile latency against offered rate, open loop",
            )?,
            lines(
                Metric::P50,
                &offered,
                "messages offered per second",
                "Median latency against offered rate, open loop",
            )?,
            lines(
                Metric::Cpu,
                &offered,
                "messages offered per second",
                "Server CPU per round trip against offered rate",
            )?,
        ],
        Work::P5 => vec![
            self::lines(
                cells,
                &[Work::P1, Work::P5],
                Metric::Resident,
                &connections,
                "connections",
                "Resident memory of the server against connections",
            )?,
            bars(Metric::BeyondBuffer, "Resident memory for each connection, beyond its buffer")?,
        ],
        Work::P6 => {
            vec![bars(Metric::Cpu, "Server CPU per round trip, as many connections as workers")?]
        }
        Work::P9 => {
            vec![bars(Metric::Cpu, "Server CPU per connection: accept, receive, send, close")?]
        }
        Work::P10 => vec![bars(Metric::CpuPerMb, "Server CPU per MB received and sent back")?],
        Work::P11 => vec![bars(Metric::P99, "99th percentile latency of the other round trips")?],
        Work::P12 => vec![bars(Metric::P50, "Median time to a fresh connection's echo")?],
        Work::P13 => vec![bars(Metric::P50, "Median time to the callback")?],
    };
    Ok(charts.into_iter().flatten().collect())
}

const WIDTH: u32 = 960;
const LINES_HEIGHT: u32 = 480;
const LEGEND_WIDTH: i32 = 230;
const TEXT: (&str, u32) = ("sans-serif", 15);

fn drawn<E: std::error::Error + Send + Sync>(
    result: Result<(), DrawingAreaErrorKind<E>>,
) -> io::Result<()> {
    result.map_err(|error| io::Error::other(error.to_string()))
}

struct Series {
    contender: Contender,
    points: Vec<(f64, f64)>,
}

/// A line for each contender; bars, if there is only one place on the axis.
fn lines(
    cells: &[Cell],
    works: &[Work],
    metric: Metric,
    x: &dyn Fn(&Cell) -> Option<f64>,
    x_title: &str,
    caption: &str,
) -> io::Result<Option<Chart>> {
    let cells: Vec<_> = cells.iter().filter(|cell| works.contains(&cell.case.work)).collect();
    let mut series: Vec<Series> = Vec::new();
    for contender in contenders(&cells) {
        let own: Vec<_> =
            cells.iter().filter(|cell| cell.contender == contender).copied().collect();
        let mut points: Vec<_> = cases(own.iter().copied())
            .into_iter()
            .filter_map(|case| {
                let of_case = || own.iter().filter(|cell| cell.case == case);
                let place = Spread::of(of_case().filter_map(|cell| x(cell)))?.median;
                let value =
                    Spread::of(of_case().filter_map(|cell| metric.of(cell.measurement()?)))?;
                Some((place, value.median))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !points.is_empty() {
            series.push(Series { contender, points });
        }
    }
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    let (Some(across), Some(up)) =
        (Spread::of(all().map(|at| at.0)), Spread::of(all().map(|at| at.1)))
    else {
        return Ok(None);
    };
    if across.least == across.most {
        let work = *works.last().expect("at least one");
        let cells = cells.into_iter().filter(|cell| cell.case.work == work).collect();
        return bars_of(cells, metric, caption);
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, LINES_HEIGHT)).into_drawing_area();
        drawn(root.fill(&WHITE))?;
        let (plot, legend) = root.split_horizontally(WIDTH as i32 - LEGEND_WIDTH);
        let mut places: Vec<_> = all().map(|at| at.0).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        // Below a hundredth there is nothing to tell, and zero has no place on the scale.
        let up = up.least.max(0.01) / 1.2..up.most.max(0.02) * 1.2;
        draw_lines(&plot, &places, up, (x_title, metric.title()), &series)?;
        draw_legend(&legend, &series)?;
        drawn(root.present())?;
    }
    Ok(Some(Chart { svg, caption: caption.to_owned() }))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Both scales are logarithmic; across, only what was measured is marked.
fn draw_lines(
    plot: &Area<'_>,
    places: &[f64],
    up: Range<f64>,
    (x_title, y_title): (&str, &str),
    series: &[Series],
) -> io::Result<()> {
    let least = up.start;
    let (first, last) = (places[0], places[places.len() - 1]);
    let margin = (last / first).powf(0.03);
    let across = first / margin..last * margin;
    let chart = ChartBuilder::on(plot)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(across.log_scale(), up.clone().log_scale());
    let mut chart = chart.map_err(|error| io::Error::other(error.to_string()))?;
    let mesh = chart
        .configure_mesh()
        .x_desc(x_title)
        .y_desc(y_title)
        .disable_x_mesh()
        .x_label_formatter(&|_| String::new())
        .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
        .y_label_formatter(&|value| axis_label(*value))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(215, 215, 215))
        .draw();
    drawn(mesh)?;
    for &place in places {
        let (x, y) = chart.backend_coord(&(place, least));
        let top = chart.backend_coord(&(place, up.end)).1;
        drawn(plot.draw(&PathElement::new([(x, y), (x, top)], RGBColor(215, 215, 215))))?;
        let style = TextStyle::from(TEXT).pos(Pos::new(HPos::Center, VPos::Top));
        drawn(plot.draw(&Text::new(axis_label(place), (x, y + 7), style)))?;
    }
    // Ours last, on top of the others.
    let (ours, theirs): (Vec<_>, Vec<_>) =
        series.iter().partition(|series| series.contender.is_aio());
    for Series { contender, points } in theirs.into_iter().chain(ours) {
        let style = style(*contender);
        let points = points.iter().map(|&(x, y)| (x, y.max(least)));
        drawn(chart.draw_series(LineSeries::new(points.clone(), style)).map(drop))?;
        let dots =
            points.map(|point| Circle::new(point, 3 + style.stroke_width / 2, style.filled()));
        drawn(chart.draw_series(dots).map(drop))?;
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, series: &[Series]) -> io::Result<()> {
    for (index, Series { contender, .. }) in series.iter().enumerate() {
        let y = 24 + 22 * index as i32;
        let style = style(*contender);
        drawn(area.draw(&PathElement::new([(4, y), (32, y)], style)))?;
        drawn(area.draw(&Circle::new((18, y), 3 + style.stroke_width / 2, style.filled())))?;
        let text = text_style(HPos::Left);
        drawn(area.draw(&Text::new(contender.to_string(), (40, y), text)))?;
    }
    Ok(())
}

fn bars(cells: &[Cell], work: Work, metric: Metric, caption: &str) -> io::Result<Option<Chart>> {
    bars_of(cells.iter().filter(|cell| cell.case.work == work).collect(), metric, caption)
}

/// A group of bars for each contender, a bar for each case, each with its figure beside it.
fn bars_of(cells: Vec<&Cell>, metric: Metric, caption: &str) -> io::Result<Option<Chart>> {
    const LABEL: i32 = 200;
    const FIGURE: i32 = 80;
    const BAR: i32 = 18;
    const GAP: i32 = 8;
    let value = |contender: Contender, case: Case| {
        let own = cells.iter().filter(|cell| cell.contender == contender && cell.case == case);
        Spread::of(own.filter_map(|cell| metric.of(cell.measurement()?)))
            .map(|spread| spread.median)
    };
    let contenders = contenders(&cells);
    let mut cases = cases(cells.iter().copied());
    cases.retain(|case| contenders.iter().any(|contender| value(*contender, *case).is_some()));
    let values = contenders
        .iter()
        .flat_map(|contender| cases.iter().filter_map(|case| value(*contender, *case)));
    let Some(values) = Spread::of(values) else { return Ok(None) };
    let (least, most) = (values.least.min(0.0), values.most.max(f64::MIN_POSITIVE));
    // Not every contender takes part in every case.
    let rows: Vec<(Contender, Vec<(usize, Case)>)> = contenders
        .iter()
        .map(|&contender| {
            let takes_part = |case: &Case| {
                cells.iter().any(|cell| cell.contender == contender && cell.case == *case)
            };
            let own = cases.iter().copied().enumerate().filter(|(_, case)| takes_part(case));
            (contender, own.collect())
        })
        .collect();
    // A line of titles, if the cases are to be told apart.
    let top = if cases.len() > 1 { 34 } else { 8 };
    let bars: usize = rows.iter().map(|(_, own)| own.len()).sum();
    let height = top + BAR * bars as i32 + GAP * rows.len() as i32 + 30;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        drawn(root.fill(&WHITE))?;
        let room = f64::from(WIDTH as i32 - LABEL - FIGURE);
        let x = |value: f64| LABEL + ((value - least) / (most - least) * room) as i32;
        if cases.len() > 1 {
            let mut left = LABEL;
            for (index, case) in cases.iter().enumerate() {
                let shade = BLACK.mix(shade(index));
                drawn(root.draw(&Rectangle::new([(left, 9), (left + 12, 21)], shade.filled())))?;
                let title = case.title();
                drawn(root.draw(&Text::new(
                    title.clone(),
                    (left + 18, 15),
                    text_style(HPos::Left),
                )))?;
                left += 44 + 8 * title.chars().count() as i32;
            }
        }
        let mut y = top;
        for (contender, own) in rows {
            let middle = y + BAR * own.len() as i32 / 2 - 1;
            let style = text_style(HPos::Right);
            drawn(root.draw(&Text::new(contender.to_string(), (LABEL - 10, middle), style)))?;
            for (index, case) in own {
                let (text, end) = match value(contender, case) {
                    Some(value) => {
                        let bar = [(x(0.0), y), (x(value), y + BAR - 2)];
                        let color = self::style(contender).color.mix(shade(index));
                        drawn(root.draw(&Rectangle::new(bar, color.filled())))?;
                        (figure(value), x(value.max(0.0)))
                    }
                    None => ("no figure: the table says why".to_owned(), x(0.0)),
                };
                let at = (end + 6, y + BAR / 2 - 1);
                drawn(root.draw(&Text::new(text, at, text_style(HPos::Left))))?;
                y += BAR;
            }
            y += GAP;
        }
        let at = (LABEL, height - 14);
        drawn(root.draw(&Text::new(metric.title(), at, text_style(HPos::Left))))?;
        drawn(root.present())?;
    }
    Ok(Some(Chart { svg, caption: caption.to_owned() }))
}

/// How strongly the bar of a case is drawn.
fn shade(index: usize) -> f64 {
    [1.0, 0.5, 0.25][index % 3]
}

fn text_style(align: HPos) -> TextStyle<'static> {
    TextStyle::from(TEXT).color(&BLACK).pos(Pos::new(align, VPos::Center))
}

fn axis_label(value: f64) -> String {
    match value {
        10.0.. => thousands(value),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn contenders(cells: &[&Cell]) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for cell in cells {
        if !contenders.contains(&cell.contender) {
            contenders.push(cell.contender);
        }
    }
    contenders
}

/// A family of runtimes has a color; the fewer workers, the lighter it is. Ours are drawn thicker.
fn style(contender: Contender) -> ShapeStyle {
    let color = match (contender.server, contender.workers) {
        (Server::Aio(Engine::Readiness), 1) => RGBColor(110, 165, 235),
        (Server::Aio(Engine::Readiness), _) => RGBColor(10, 75, 180),
        (Server::Aio(Engine::Blocking), 1) => RGBColor(250, 175, 90),
        (Server::Aio(Engine::Blocking), _) => RGBColor(225, 100, 0),
        (Server::Aio(_), 1) => RGBColor(240, 130, 190),
        (Server::Aio(_), _) => RGBColor(200, 30, 120),
        (Server::RawMio, _) => RGBColor(0, 0, 0),
        (Server::TokioMultiThread, _) => RGBColor(0, 110, 50),
        (Server::TokioCurrentThread, _) => RGBColor(70, 175, 95),
        (Server::TokioSpawnBlocking, _) => RGBColor(155, 205, 110),
        (Server::Smol, _) => RGBColor(125, 60, 170),
        (Server::CompioUring, _) => RGBColor(140, 90, 50),
        (Server::CompioPoll, _) => RGBColor(200, 160, 120),
        (Server::MonoioUring, _) => RGBColor(0, 145, 150),
        (Server::MonoioPoll, _) => RGBColor(120, 200, 205),
        (Server::ThreadPerConnection, _) => RGBColor(200, 25, 35),
        (Server::RayonJobs, _) => RGBColor(130, 130, 130),
        (Server::RayonAndAQueue, _) => RGBColor(180, 180, 180),
    };
    let stroke_width = if contender.is_aio() { 3 } else { 1 };
    ShapeStyle { color: color.to_rgba(), filled: false, stroke_width }
}
