//! The library within a program, without a server: predict, feed back, and wait until it is learned.
//!
//! `cargo run --release --example embed`. A test of this repository runs it too.

use perennial::engine::{Acknowledgement, Config, Engine, PredictOptions};
use perennial::event::{Batch, Column, Feedback, Outputs, Signal, Subject};

const MODEL: &str = "task = 'regression'\n[[input]]\nname = 'celsius'\nkind = 'number'";

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("perennial-embed-{}", std::process::id()));
    let (models, data) = (folder.join("models"), folder.join("data"));
    std::fs::create_dir_all(models.join("thermometer"))?;
    std::fs::write(models.join("thermometer/model.toml"), MODEL)?;
    let engine = Engine::open(Config {
        models,
        data,
        ..Config::default()
    })?;
    let model = engine.model("thermometer")?;

    for step in 0..200 {
        let celsius = f64::from(step % 40);
        let row = Batch {
            n_rows: 1,
            columns: vec![Column::Numbers(vec![celsius])],
        };
        // One snapshot answers; it stays as it is while the model learns.
        let snapshot = model.snapshot("")?;
        let answer = model
            .predict(&snapshot, row, PredictOptions::default())
            .await?;

        let fahrenheit = celsius * 1.8 + 32.0;
        let receipt = model.accept(Feedback {
            feedback_id: format!("reading-{step}"),
            subject: Subject::Prediction(answer.ids[0]),
            signal: Signal::Value(fahrenheit),
            source: "thermometer".to_owned(),
            event_time: None,
            tags: Default::default(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        })?;
        // On disk from here on, whatever happens to this process.
        let Acknowledgement::Accepted { position } = receipt.wait().await? else {
            return Err("the id was used before".into());
        };
        model.wait_for_position(position).await?;

        if (step + 1) % 50 == 0 {
            let Outputs::Values(predicted) = &answer.outputs else {
                return Err("a regression answers with values".into());
            };
            let predicted = predicted[0];
            println!(
                "{celsius} degrees: predicted {predicted:.1} F before it learned {fahrenheit:.1}"
            );
        }
    }
    let status = model.status(false);
    println!(
        "{} examples learned, mean absolute error {:?}",
        status.examples, status.score
    );
    // Saves a checkpoint and ends the threads.
    engine.close();
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
