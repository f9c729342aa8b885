//! Draws curves as SVG. This module measures nothing.
//!
//! The background is transparent, and the colours are legible on light and on dark pages. The shape of the
//! points tells lines of one colour apart. The names stand at the ends of the lines, so that no colour need be
//! looked up.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::show::{Chart, Line};

const SIZE: (u32, u32) = (960, 540);
const INK: RGBColor = RGBColor(118, 118, 118);
/// From the palette of Okabe and Ito, those with enough contrast to white and to black.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(190, 105, 155)];
const FONT: i32 = 14;
/// The width of the names, and the distance between two of them.
const NAMES: i32 = 230;
const APART: i32 = 18;

/// Writes the picture into a directory, as a file that is named after the chart.
pub(crate) fn draw(directory: &Path, chart: &Chart) -> Result<(), Box<dyn Error>> {
    let file = directory.join(format!("{}.svg", chart.title.replace(|c: char| !c.is_alphanumeric(), "_")));
    let points = || chart.lines.iter().flat_map(|line| &line.points).copied();
    let (least_x, most_x) = bounds(points().map(|point| point.0));
    let (least_y, most_y) = bounds(points().map(|point| point.1));
    let area = SVGBackend::new(&file, SIZE).into_drawing_area();
    let font = ("sans-serif", FONT).into_font().color(&INK);
    let mut plane = ChartBuilder::on(&area)
        .caption(&chart.title, ("sans-serif", FONT + 3).into_font().color(&INK))
        .margin(14)
        .margin_right(NAMES)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (least_x..most_x).log_scale().base(2.0),
            (least_y / 1.3..most_y * 1.3).log_scale(),
        )?;
    plane
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.25))
        .axis_style(INK)
        .label_style(font.clone())
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| if *y < 1.0 { format!("{y:.1}") } else { format!("{y:.0}") })
        .x_labels(16)
        .x_desc(chart.across)
        .y_desc("ns per operation")
        .draw()?;
    let mut ends = Vec::new();
    for (index, line) in chart.lines.iter().enumerate() {
        let style = COLOURS[index % COLOURS.len()].stroke_width(2);
        plane.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        for point in &line.points {
            mark(&area, plane.backend_coord(point), index)?;
        }
        if let Some(end) = line.points.last() {
            ends.push((plane.backend_coord(end), index, line));
        }
    }
    write_names(&area, ends, &font)?;
    area.present()?;
    Ok(())
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (least.min(value), most.max(value)))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type End<'a> = ((i32, i32), usize, &'a Line);

/// Draws a point in the shape and colour of a line.
fn mark(area: &Area<'_>, at: (i32, i32), line: usize) -> Result<(), Box<dyn Error>> {
    let style = COLOURS[line % COLOURS.len()].filled();
    match line / COLOURS.len() {
        0 => area.draw(&Circle::new(at, 4, style))?,
        1 => area.draw(&TriangleMarker::new(at, 6, style))?,
        2 => area.draw(&Rectangle::new([(at.0 - 4, at.1 - 4), (at.0 + 4, at.1 + 4)], style))?,
        _ => area.draw(&Cross::new(at, 5, style.stroke_width(2)))?,
    }
    Ok(())
}

/// Writes the names beside the ends of their lines, apart from each other.
fn write_names(area: &Area<'_>, mut ends: Vec<End<'_>>, font: &TextStyle<'_>) -> Result<(), Box<dyn Error>> {
    ends.sort_by_key(|(end, ..)| end.1);
    let lowest = SIZE.1 as i32 - APART * ends.len() as i32;
    let mut next = APART;
    for (place, (end, line, Line { name, .. })) in (0..).zip(ends) {
        let y = next.max(end.1).min(lowest + APART * place);
        next = y + APART;
        let from = end.0 + 30;
        let leader = [(end.0 + 6, end.1), (from - 8, y)];
        area.draw(&PathElement::new(leader, INK.mix(0.5)))?;
        mark(area, (from, y), line)?;
        area.draw(&Text::new(name.as_str(), (from + 10, y - FONT / 2), font.clone()))?;
    }
    Ok(())
}
