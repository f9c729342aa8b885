//! Reads the input of commands: traces with their sidecars, configurations, and results.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use warmheap::PoolConfig;
use warmheap::config::{CONFIG_VARIABLE, ConfigError, Document, MAX_YAML_BYTES};
use warmheap::stats::SizeHistogram;
use warmheap_trace::{Compile, FirstTokens, Program, TraceReader};

use crate::failure::Failure;
use crate::show;

/// The trace that `bench` replays if the user names none, and its sidecar.
const BUNDLED: (&str, &[u8], &str) = (
    "qwen05b_short.csv.zst",
    include_bytes!("../../../traces/qwen05b_short.csv.zst"),
    include_str!("../../../traces/qwen05b_short.json"),
);

/// The contents of a trace's sidecar file: `TRACE.json` beside `TRACE.csv[.gz|.zst]`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Sidecar {
    /// The workload that ran.
    pub(crate) workload: Option<String>,
    /// The machine on which it ran.
    pub(crate) recorded_on: Option<String>,
    /// The number of tokens, or of steps that each give one token to every request.
    pub(crate) decode_steps: Option<u64>,
    /// The number, from 0, of the first event after the model was loaded.
    #[serde(default)]
    pub(crate) serving_from_event: u64,
    /// The first event after the first token was made.
    pub(crate) decoding_from_event: Option<u64>,
    /// The first event after the first decode step, which makes the second token.
    pub(crate) second_decode_from_event: Option<u64>,
    /// The trace's own figures, for readers. The trace itself tells them.
    #[serde(rename = "events")]
    _events: Option<u64>,
    #[serde(rename = "allocations")]
    _allocations: Option<u64>,
    /// Keys that are none of these, which may be misspelt.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// The remedy for a result that cannot be read or compared.
pub(crate) const RESULT: &str = "give two results of `bench --output`, or two of `replay --json`";

/// A trace that is ready to be replayed.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) sidecar: Sidecar,
}

impl Trace {
    /// Opens the bundled trace.
    pub(crate) fn bundled() -> Result<Self, Failure> {
        let (name, bytes, sidecar) = BUNDLED;
        let sidecar = serde_json::from_str(sidecar).map_err(Failure::failed)?;
        let reader = TraceReader::new(name, bytes).map_err(Failure::failed)?;
        Self::compile(name.to_owned(), reader, sidecar, false)
    }

    /// Returns a text that is the same for two traces with the same requests.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:016x}", self.program.fingerprint())
    }

    /// Opens the trace at `path`.
    pub(crate) fn open(path: &Path, lenient: bool) -> Result<Self, Failure> {
        let sidecar_path = sidecar_path(path);
        let sidecar = match File::open(&sidecar_path) {
            Ok(file) => sidecar(&sidecar_path, file)?,
            Err(_) => Sidecar::default(),
        };
        let reader = TraceReader::open(path).map_err(Failure::failed)?;
        Self::compile(path.display().to_string(), reader, sidecar, lenient)
    }

    fn compile(name: String, reader: TraceReader, sidecar: Sidecar, lenient: bool) -> Result<Self, Failure> {
        if sidecar.decode_steps == Some(0) {
            return Err(Failure::Failed(format!(
                "{name}: the sidecar's decode_steps is 0; it must be at least 1, or left out"
            )));
        }
        let how = Compile { lenient, serving_from: sidecar.serving_from_event };
        let first_tokens = FirstTokens {
            decoding_from: sidecar.decoding_from_event,
            second_decode_from: sidecar.second_decode_from_event,
        };
        let program = Program::compile_marked(reader, how, first_tokens).map_err(Failure::failed)?;
        let summary = program.summary();
        let unplaced = [
            ("decoding_from_event", first_tokens.decoding_from, summary.decoding_from),
            ("second_decode_from_event", first_tokens.second_decode_from, summary.second_decode_from),
        ];
        if let Some((key, event, _)) = unplaced.iter().find(|(_, event, op)| event.is_some() && op.is_none())
        {
            return Err(Failure::Failed(format!(
                "{name}: the sidecar's {key} is {}; it must be an event of the trace, after the one of the \
                 mark before it",
                event.unwrap_or_default()
            )));
        }
        let skipped = program.summary().skipped;
        if skipped > 0 {
            show::note(format_args!("{name}: {skipped} impossible events skipped"));
        }
        let other_sizes = program.summary().other_sizes;
        if other_sizes > 0 {
            show::note(format_args!(
                "{name}: {other_sizes} frees name another size than their allocation; the allocation's counts"
            ));
        }
        let events = program.summary().events;
        if events == 0 {
            return Err(Failure::Failed(format!("{name}: no events; record a trace that allocates")));
        }
        // Serving from the last event on takes no time.
        if sidecar.serving_from_event > 0 && program.summary().serving_from + 1 >= events {
            return Err(Failure::Failed(format!(
                "{name}: the sidecar's serving_from_event is {}; it must be an event of the trace, which has \
                 {events}, before the last one",
                sidecar.serving_from_event
            )));
        }
        Ok(Self { name, program, sidecar })
    }
}

/// Returns the sizes of the buffers that are alive when most bytes are.
pub(crate) fn sizes_at_peak(program: &Program) -> SizeHistogram {
    let sizes = program.sizes();
    // Plays up to an operation, and shows each moment's live bytes on the way.
    let play = |until: usize, show: &mut dyn FnMut(usize, u128)| {
        let (mut slots, mut live) = (vec![0; program.slots()], 0_u128);
        for (at, op) in program.ops()[..until].iter().enumerate() {
            let size = op.size().map_or(0, |index| sizes[index]);
            live = live + u128::from(size) - u128::from(slots[op.slot()]);
            slots[op.slot()] = size;
            show(at, live);
        }
        slots
    };
    let mut peak = (0, 0);
    play(program.ops().len(), &mut |at, live| {
        if live > peak.1 {
            peak = (at + 1, live);
        }
    });
    play(peak.0, &mut |_, _| ()).into_iter().filter(|size| *size > 0).collect()
}

/// Reads a sidecar. A result of this command in its place would be taken for one without any key.
fn sidecar(path: &Path, file: File) -> Result<Sidecar, Failure> {
    let value: Value = parse(path, file, "correct the sidecar or remove it")?;
    if value.get("schema_version").is_some() {
        return Err(Failure::Failed(format!(
            "{}: the trace's sidecar belongs here, but this is a result of this command; move it",
            path.display()
        )));
    }
    let wrong = |why: &dyn Display| {
        Failure::Failed(format!("{}: not a sidecar ({why}); correct it or remove it", path.display()))
    };
    if !value.is_object() {
        return Err(wrong(&"its JSON is no object"));
    }
    let sidecar: Sidecar = serde_json::from_value(value).map_err(|e| wrong(&e))?;
    if !sidecar.others.is_empty() {
        let names: Vec<_> = sidecar.others.keys().map(String::as_str).collect();
        show::note(format_args!(
            "{}: no keys of a sidecar, so ignored: {}",
            path.display(),
            names.join(", ")
        ));
    }
    Ok(sidecar)
}

/// Returns the sidecar's path: `dir/a.json` for `dir/a.csv.zst`.
pub(crate) fn sidecar_path(trace: &Path) -> PathBuf {
    let name = trace.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.trim_end_matches(".zst").trim_end_matches(".gz");
    let stem = stem.trim_end_matches(".csv");
    trace.with_file_name(format!("{stem}.json"))
}

/// Reads the configuration at `path`, or on standard input for `-`, and applies the environment's overrides.
pub(crate) fn config(path: &Path) -> Result<Document, Failure> {
    let mut document = if path == Path::new("-") {
        // One byte more than is allowed shows that the text is too long.
        let mut text = String::new();
        let mut input = io::stdin().lock().take(MAX_YAML_BYTES as u64 + 1);
        input
            .read_to_string(&mut text)
            .map_err(|e| Failure::Failed(format!("standard input: cannot be read ({e}); give UTF-8 text")))?;
        Document::from_text(&text).map_err(|e| Failure::Failed(format!("standard input: {e}")))?
    } else {
        Document::from_file(path).map_err(Failure::failed)?
    };
    document.config = document.config.with_environment().map_err(Failure::failed)?;
    Ok(document)
}

/// Reads the configuration at `path`. Without a path, returns `own`, the settings that the command uses by
/// itself, with those of the file that the environment names, if it does. The environment overrides either.
pub(crate) fn config_or(
    path: Option<&Path>,
    own: impl FnOnce() -> PoolConfig,
) -> Result<PoolConfig, Failure> {
    let config = match (path, environment_file()) {
        (Some(path), _) => return config(path).map(|document| document.config),
        (None, Some(file)) => {
            let named = changed_by(&file, own);
            let named = named.map_err(|e| Failure::Failed(format!("{CONFIG_VARIABLE}: {e}")))?;
            Ok(named)
        }
        (None, None) => Ok(own()),
    };
    config.and_then(PoolConfig::with_environment).map_err(Failure::failed)
}

/// Returns the file that `WARMHEAP_CONFIG` names, if it is set and not empty.
pub(crate) fn environment_file() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Applies a file to the command's own settings. A file that says how heaps are sized says all of it; any other
/// leaves the command's sizing as it is.
fn changed_by(file: &Path, own: impl FnOnce() -> PoolConfig) -> Result<PoolConfig, ConfigError> {
    let document = Document::from_file_over(PoolConfig::elastic(), file)?;
    if document.sizes_heaps() { Ok(document.config) } else { own().with_yaml_file(file) }
}

/// Reads a result from a JSON file.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    match File::open(path) {
        Ok(file) => parse(path, file, RESULT),
        Err(e) => Err(Failure::Failed(format!("{}: cannot be read ({e}); {RESULT}", path.display()))),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, file: File, remedy: &str) -> Result<T, Failure> {
    serde_json::from_reader(io::BufReader::new(file))
        .map_err(|e| Failure::Failed(format!("{}: not the JSON expected ({e}); {remedy}", path.display())))
}

/// Reads the statistics that a running program keeps in the file at `path`.
pub(crate) fn statistics<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    const REMEDY: &str = "start the program with WARMHEAP_STATS set to this file";
    let file = File::open(path)
        .map_err(|e| Failure::Failed(format!("{}: cannot be read ({e}); {REMEDY}", path.display())))?;
    parse(path, file, REMEDY)
}
