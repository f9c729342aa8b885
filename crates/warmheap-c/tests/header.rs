//! The header in the repository is the one that the source makes. Run this test with `UPDATE_HEADER=1` to
//! renew it.

use std::path::Path;

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::generate_with_config(root, config).unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).unwrap();

    let path = root.join("include/warmheap.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "include/warmheap.h is not current; run with UPDATE_HEADER=1");
}

/// Returns the comment above the line with `item`, as one line.
fn comment(source: &str, item: &str, mark: &str) -> String {
    let (before, _) = source.split_once(item).unwrap_or_else(|| panic!("there is no `{item}`"));
    let lines = before.lines().rev().skip(1).map(str::trim);
    let mut words: Vec<_> = lines.map_while(|line| line.strip_prefix(mark)).map(str::trim).collect();
    words.reverse();
    words.join(" ")
}

/// Cbindgen needs the struct written out, so its comments are copies.
#[test]
fn every_statistic_has_its_field_and_the_librarys_description() {
    let header = include_str!("../include/warmheap.h");
    let (_, statistics) = header.split_once("typedef struct wh_statistics {").unwrap();
    for figure in warmheap::Statistics::figures() {
        let described = comment(statistics, &format!(" {};", figure.name), "// ");
        assert_eq!(described, figure.help.trim(), "{}", figure.name);
    }
    let declared = include_str!("../../warmheap/src/stats/slow_path.rs");
    for (stage, _) in warmheap::Statistics::default().slow_path.stages() {
        let described = comment(header, &format!(" {stage};"), "// ");
        assert_eq!(described, comment(declared, &format!(" {stage}: Stage,"), "/// "), "{stage}");
    }
}

/// Returns the items of the header as (first line, the comment above it): functions, types, constants, and
/// the values of enums that later versions added.
fn items(header: &str) -> Vec<(&str, String)> {
    let begins = [
        "#define WH_",
        "#define wh_",
        "typedef ",
        "enum wh_status ",
        "const ",
        "void ",
        "size_t ",
        "uint32_t ",
    ];
    let lines: Vec<_> = header.lines().collect();
    let described = |at: usize| {
        let above =
            lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("/*"));
        let mut words: Vec<_> = above.copied().collect();
        words.reverse();
        words.join(" ")
    };
    let is_item = |line: &&str| begins.iter().any(|begin| line.starts_with(begin));
    let numbered = lines.iter().enumerate();
    numbered.filter(|(_, line)| is_item(line)).map(|(at, line)| (*line, described(at))).collect()
}

#[test]
fn every_item_names_the_version_that_brought_it() {
    let header = include_str!("../include/warmheap.h");
    let current = (warmheap_c::WH_VERSION_MAJOR, warmheap_c::WH_VERSION_MINOR);
    let items: Vec<_> =
        items(header).into_iter().filter(|(line, _)| !line.starts_with("#define WH_VERSION")).collect();
    assert!(items.len() > 70, "{items:?}");
    for (line, comment) in items {
        // The macro stands in a condition, and its comment before that.
        let macro_of_0_2 = line.starts_with("#define wh_allocate(");
        assert!(macro_of_0_2 || since(&comment).is_some_and(|it| it <= current), "{line}: {comment}");
    }
}

/// The structs of the header, each with the last field of the version that brought it.
const STRUCTS: [(&str, &str); 13] = [
    ("wh_pool", "id"),
    ("wh_buffer", "id"),
    ("wh_request", "tag"),
    ("wh_buffer_info", "is_fallback"),
    ("wh_log_record", "fields"),
    ("wh_compaction", "finished"),
    ("wh_pressure", "objects"),
    ("wh_stage", "served"),
    ("wh_slow_path", "callbacks"),
    ("wh_statistics", "peak_reserved_bytes"),
    ("wh_queue", "id"),
    ("wh_ticket", "value"),
    ("warmheap_pool_id", "second"),
];

/// Returns the version that a comment names last.
fn since(comment: &str) -> Option<(u32, u32)> {
    let (_, text) = comment.rsplit_once("Since ")?;
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A struct says once which version brought it and its fields. A field of a later version says so itself.
#[test]
fn every_field_has_a_version() {
    let header = include_str!("../include/warmheap.h");
    let current = (warmheap_c::WH_VERSION_MAJOR, warmheap_c::WH_VERSION_MINOR);
    assert_eq!(header.matches("typedef struct ").count(), STRUCTS.len(), "a struct is not in the list");
    for (name, last) in STRUCTS {
        let begin = format!(" struct {name} {{");
        let about = comment(header, &begin, "//");
        assert!(about.ends_with(", as are the fields without another version."), "{name}: {about}");
        let brought = since(&about).filter(|version| *version <= current).expect(name);
        let (_, body) = header.split_once(&begin).unwrap();
        let (body, _) = body.split_once("\n} ").unwrap();
        let (mut later, mut fields) = (false, 0);
        let declared = body.lines().enumerate().filter(|(_, line)| !line.trim().starts_with("//"));
        for (at, field) in declared.filter(|(_, line)| line.ends_with(';')) {
            let above = body.lines().take(at).collect::<Vec<_>>();
            let own = above.iter().rev().map_while(|line| line.trim().strip_prefix("// "));
            let own = own.filter_map(since).next();
            let right = own.is_some_and(|own| own > brought && own <= current);
            assert!(if later { right } else { own.is_none() }, "{name}: {field}");
            later |= field.ends_with(&format!("{last};"));
            fields += 1;
        }
        assert!(later && fields > 0, "{name} has no {last}");
    }
}

/// A struct that the library reads or fills, and that may grow, carries its size.
#[test]
fn structs_begin_with_their_size_unless_they_never_change() {
    let header = include_str!("../include/warmheap.h");
    let unchanging =
        ["wh_pool", "wh_buffer", "wh_queue", "wh_ticket", "wh_stage", "wh_slow_path", "warmheap_pool_id"];
    let structs: Vec<_> = header.split("typedef struct ").skip(1).collect();
    assert!(structs.len() > 12);
    for body in structs {
        let (name, fields) = body.split_once(" {").unwrap();
        let first = fields.lines().map(str::trim).find(|line| line.ends_with(';')).unwrap();
        assert!(first == "size_t struct_size;" || unchanging.contains(&name), "{name} begins with {first}");
    }
}

/// The functions of the header whose names begin with `wh_`.
fn functions(header: &str) -> Vec<&str> {
    let declared = header.lines().filter(|line| !line.starts_with("//") && !line.starts_with("typedef"));
    let names = declared.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names.filter(|name| name.starts_with("wh_") && !name.contains('#')).collect()
}

#[test]
fn the_wrapper_for_cpp_has_every_function() {
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/warmheap");
    let parts = std::fs::read_dir(parts).unwrap().map(|part| part.unwrap().path());
    let wrapper: String = parts.map(|part| std::fs::read_to_string(part).unwrap()).collect();
    let functions = functions(include_str!("../include/warmheap.h"));
    assert!(functions.len() > 40, "{functions:?}");
    let of_c_alone = ["wh_allocate", "wh_allocate_at", "wh_version", "wh_version_string"];
    for name in functions.into_iter().filter(|name| !of_c_alone.contains(name)) {
        assert!(wrapper.contains(&format!("{name}(")), "warmheap.hpp does not call {name}");
    }
}

#[test]
fn the_shared_library_is_named_by_the_major_version() {
    let named = format!("const MAJOR: &str = \"{}\";", warmheap_c::WH_VERSION_MAJOR);
    assert!(include_str!("../build.rs").contains(&named));
}

#[test]
fn every_function_that_the_documents_name_is_in_the_header() {
    let header = include_str!("../include/warmheap.h");
    let documents = [include_str!("../../../docs/pytorch.md"), include_str!("../../../docs/c.md")];
    let names = documents
        .iter()
        .flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    let functions: Vec<_> =
        names.filter(|name| name.starts_with("wh_") || name.starts_with("warmheap_")).collect();
    assert!(functions.len() > 10, "{functions:?}");
    for name in functions.into_iter().filter(|name| *name != "warmheap_c") {
        assert!(header.contains(name), "the header has no {name}");
    }
}
