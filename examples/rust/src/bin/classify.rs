//! Early exit on images: cargo run -- BUNDLE IMAGE.ppm...

use eetool_runtime::{Model, Session};
use std::error::Error;
use std::{env, fs, process};

struct Picture {
    pixels: Vec<u8>,
    size: (i32, i32, i32), // height, width, channels
}

/// Read a binary PGM or PPM file with 256 levels and without comments.
fn read_picture(path: &str) -> Result<Picture, Box<dyn Error>> {
    let file = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let refused = || format!("{path} is no binary PGM or PPM file with 256 levels");
    let mut words = Vec::new();
    let mut at = 0;
    while words.len() < 4 {
        let begin = at;
        while file.get(at).ok_or_else(refused)?.is_ascii_graphic() {
            at += 1;
        }
        words.push(std::str::from_utf8(&file[begin..at])?.to_string());
        at += 1; // one white space
    }
    let channels = match (words[0].as_str(), words[3].as_str()) {
        ("P5", "255") => 1,
        ("P6", "255") => 3,
        _ => return Err(refused().into()),
    };
    Ok(Picture {
        pixels: file[at..].to_vec(),
        size: (words[2].parse()?, words[1].parse()?, channels),
    })
}

fn classify(bundle: &str, images: &[String]) -> Result<(), Box<dyn Error>> {
    let model = Model::open(bundle)?;
    let mut session = Session::new(&model)?;
    for path in images {
        let picture = read_picture(path)?;
        session.pixels(&picture.pixels, picture.size)?;
        let p = session.run(0.0)?;
        println!("{path}: {} at exit {}, confidence {:.4}", p.label, p.exit, p.confidence);
    }
    eprintln!("{}", model.stats_json()?);
    Ok(())
}

fn main() {
    let words: Vec<String> = env::args().collect();
    if words.len() < 3 {
        eprintln!("usage: classify BUNDLE IMAGE.ppm...");
        process::exit(2);
    }
    if let Err(error) = classify(&words[1], &words[2..]) {
        eprintln!("error: {error}");
        process::exit(3);
    }
}
