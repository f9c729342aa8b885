//! Draws a run: live and held memory over time.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use plotters::prelude::*;
use warmheap::config::MIB;

use super::load::{Course, Sample};

const SIZE: (u32, u32) = (760, 360);
/// The colours are legible on light and on dark pages.
const LIVE: RGBColor = RGBColor(90, 150, 90);
const KEPT: RGBColor = RGBColor(200, 110, 60);
const GIVEN_BACK: RGBColor = RGBColor(60, 120, 200);
const INK: RGBColor = RGBColor(130, 130, 130);

type Figure = fn(&Sample) -> u64;

pub(crate) fn draw(
    file: &Path,
    kept: &Course,
    given_back: &Course,
    trim_after: Duration,
) -> Result<(), Box<dyn Error>> {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let all = || kept.samples.iter().chain(&given_back.samples);
    let most = all().map(|sample| mib(sample.held)).fold(0.0, f64::max) * 1.05;
    let end = all().map(|sample| sample.time.as_secs_f64()).fold(0.0, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let font = ("sans-serif", 14).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(INK)
        .label_style(font.clone())
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|mib| format!("{mib:.0}"))
        .x_labels(6)
        .x_desc("seconds")
        .y_desc("MiB")
        .draw()?;
    let set_time = format!("held, trim_after_ms: {}", trim_after.as_millis());
    let held: Figure = |sample| sample.held;
    let lines: [(&str, RGBColor, &Course, Figure); 3] = [
        ("held, trim_after_ms: 0", KEPT, kept, held),
        (&set_time, GIVEN_BACK, given_back, held),
        ("live", LIVE, given_back, |sample| sample.live),
    ];
    for (name, colour, course, figure) in lines {
        let points = course.samples.iter().map(|sample| (sample.time.as_secs_f64(), mib(figure(sample))));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .label_font(font)
        .border_style(INK)
        .draw()?;
    area.present()?;
    Ok(())
}
