//! Sound files of rows and seeded mutations of them: no bytes end the program.

use std::fs;
use std::path::Path;

#[path = "../../../tests/it/support/mutations.rs"]
mod mutations;

use super::FileRows;
use super::tests::gzipped;

/// Reads each row of a file of these bytes.
fn read(bytes: &[u8], path: &Path) {
    fs::write(path, bytes).expect("it is written");
    if let Ok(rows) = FileRows::open(path, &Default::default()) {
        rows.take_while(Result::is_ok).for_each(drop);
    }
}

#[test]
fn p9_no_file_of_rows_ends_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let csv = "at,\"a, b\",text,v[0],v[1]\n2026-01-31T12:00:00Z,1.5,\"said \"\"no\"\"\n\",0,1\n\
               2026-02-01,\"$1,000.50\",é,1e3,-2\n,NA,,,\n";
    let json = "{\"a\":1,\"b\":\"x\\u00e9\",\"v\":[1,2.5],\"n\":null}\n{\"a\":-1e3,\"b\":true}\n";
    let list = "[{\"a\":1},{\"a\":2,\"b\":{\"c\":3}}]";
    let table = "; a remark\nsep=;\nname;value\nx;1,5\ny;2,5\nTotal;4,0\n";
    let wide: Vec<u8> = csv.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let samples = [
        csv.as_bytes().to_vec(),
        json.as_bytes().to_vec(),
        list.as_bytes().to_vec(),
        table.as_bytes().to_vec(),
        csv.replace(',', "\t").into_bytes(),
        [&[0xff, 0xfe], &wide[..]].concat(),
        gzipped(csv.as_bytes()),
        zstd::encode_all(json.as_bytes(), 1).expect("it is packed"),
    ];
    let path = folder.path().join("rows");
    mutations::mutate(&samples, 20_000, |bytes| read(bytes, &path));
}
