//! Presets: what the logs of a known scheduler are called, and what their names say of the job.
//!
//! In: the values of one place, of which `preset` may be one. Out: the same with the preset's
//! values for what the place does not say itself.
//! Always holds: a preset counts where it is given, after the values of the same place and before
//! those that are given farther out.

use super::{Given, Key, Source, Values};
use crate::config::Format;

/// The settings that a preset stands for, each with its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preset {
    name: &'static str,
    settings: &'static [(Key, &'static [&'static str])],
}

/// All of them. Sources: sbatch(1), submit(1) and sge_conf(5), the PBS Professional Big Book and
/// qsub(1B), the HTCondor Manual ("Directories"), ARC's system reference ("Control directory"),
/// Airflow's `log_filename_template`.
pub(crate) const PRESETS: [(&str, Preset); 6] = [
    preset(
        "slurm",
        &[
            (Key::Include, &["*.out", "*.err", "*.log", "*.txt", "*.o[0-9]*", "*.e[0-9]*"]),
            // The number stands alone: between the start, dots, dashes, underlines and the end, or
            // behind `.o` and `.e`.
            (Key::Job, &[r"(?:^|[._-]|\.[oe])(?P<id>\d{4,})(?:_(?P<task>\d{1,5}))?(?:[._-]|$)"]),
            (Key::CarriageReturn, &["split"]),
        ],
    ),
    preset(
        "gridengine",
        &[
            (Key::Include, &["*.[oe][0-9]*", "*.p[oe][0-9]*"]),
            (Key::Job, &[r"\.p?(?P<stream>[oe])(?P<id>\d+)(?:\.(?P<task>\d+))?$"]),
            (Key::CarriageReturn, &["split"]),
        ],
    ),
    preset(
        "pbs",
        &[
            (Key::Include, &["*.OU", "*.ER", "*.[oe][0-9]*"]),
            // Where jobs run, <job>[<task>].<server>.OU; where they were submitted, <name>.o<job>,
            // with .<task> or (TORQUE) -<task> behind it.
            (
                Key::Job,
                &[
                    r"(?:^|\.(?P<stream>[oe]))(?P<id>\d+)(?:[\[.-](?P<task>\d+)\]?)?(?:\.(?P<server>.+)\.(?P<spool>OU|ER))?$",
                ],
            ),
            (Key::CarriageReturn, &["split"]),
        ],
    ),
    preset(
        "htcondor",
        &[
            (Key::Include, &["*.out", "*.err", "*.log", "_condor_stdout", "_condor_stderr"]),
            // As users name them, <any>.<cluster>.<process>.out; in SPOOL, the directory
            // cluster<cluster>.proc<process>.subproc0: hence a pattern of the path.
            (
                Key::Job,
                &[
                    r"(?:^|[/._-]|cluster)(?P<id>\d+)[._](?:proc)?(?P<proc>\d+)\.(?:[^/]*|subproc\d+/.*)$",
                ],
            ),
            (Key::CarriageReturn, &["split"]),
        ],
    ),
    preset(
        "arc",
        &[
            (Key::Include, &["job.*.errors"]),
            // Replaced by a rename whenever the state of the job changes.
            (Key::Exclude, &["*.status"]),
            (Key::Job, &[r"^job\.(?P<id>[^.]+)\.errors$"]),
        ],
    ),
    preset(
        "airflow",
        &[
            (Key::Include, &["*.log"]),
            (
                Key::Job,
                &[
                    r"(?:^|/)dag_id=(?P<dag>[^/]+)/run_id=(?P<run>[^/]+)/task_id=(?P<task>[^/]+)/(?:map_index=(?P<map>[^/]+)/)?attempt=(?P<attempt>\d+)\.log$",
                ],
            ),
            (Key::CarriageReturn, &["split"]),
        ],
    ),
];

const fn preset(
    name: &'static str,
    settings: &'static [(Key, &'static [&'static str])],
) -> (&'static str, Preset) {
    (name, Preset { name, settings })
}

/// Adds what the preset of this place says, as far as records of this format can have it.
pub(crate) fn expand(values: &mut Values, format: Format) {
    let given = values.get(&Key::Preset).and_then(|given| given.texts.last());
    // A name that there is not is refused with all other values.
    let Some((preset, at)) = given.and_then(|text| Some((text.try_get::<Preset>()?, &text.source)))
    else {
        return;
    };
    let source = Source::Preset(preset.name, Box::new(at.clone()));
    let can_split = matches!(format, Format::Json | Format::Syslog);
    for (key, texts) in preset.settings {
        if *key == Key::CarriageReturn && !can_split {
            continue;
        }
        values
            .entry(*key)
            .or_insert_with(|| Given::new(*key, texts.iter().map(|text| text.into()), &source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JobPattern;

    #[test]
    fn each_value_of_a_preset_is_one_and_values_of_the_same_place_win() {
        for (name, preset) in PRESETS {
            assert_eq!(preset.name, name);
            let at = Source::Variable("X".into());
            let given = |key: Key, text: &str| (key, Given::new(key, [text.into()], &at));
            let mut values = Values::from([given(Key::Preset, name), given(Key::Include, "own")]);
            expand(&mut values, Format::Json);
            assert_eq!(super::super::refusals(&values).next(), None, "{name}");
            assert_eq!(values[&Key::Include].texts[0].text, "own");
            let job = &values[&Key::Job];
            assert_eq!(job.source.to_string(), format!("preset {name}, environment variable X"));
            assert_eq!(values.contains_key(&Key::CarriageReturn), name != "arc");
            let mut values = Values::from([given(Key::Preset, name)]);
            expand(&mut values, Format::Text);
            assert!(!values.contains_key(&Key::CarriageReturn), "text has no place for it");
        }
        let mut none = Values::from([]);
        expand(&mut none, Format::Json);
        assert!(none.is_empty());
    }

    fn pattern(preset: &str) -> JobPattern {
        let (_, preset) = PRESETS.iter().find(|(name, _)| *name == preset).expect("a preset");
        let (_, texts) = preset.settings.iter().find(|(key, _)| *key == Key::Job).expect("a job");
        JobPattern::parse(texts[0]).expect("a pattern")
    }

    /// As `id=4711 task=17`; empty: the pattern does not match.
    fn fields(pattern: &JobPattern, text: &str) -> String {
        let mut fields = Vec::new();
        pattern.fields(text.as_bytes(), &mut pattern.locations(), |name, value| {
            fields.push(format!("{name}={value}"));
        });
        fields.join(" ")
    }

    /// What sbatch(1) makes of the patterns of `--output` and `--error`.
    fn of_sbatch(text: &str) -> String {
        [
            ("%j", "4711023"),
            ("%J", "4711023"),
            ("%A", "4711023"),
            ("%a", "17"),
            ("%N", "cn0042"),
            ("%x", "train-v2"),
            ("%u", "alice"),
        ]
        .iter()
        .fold(text.to_owned(), |text, (pattern, value)| text.replace(pattern, value))
    }

    /// Names that batch scripts in public repositories give to `--output` and `--error`, found by
    /// these words in them; the last component of each.
    const OF_SCRIPTS: &str = "
        policy_eo_sweep_%A_%a.out %x-%A_%a.out mamba_%j.out graphebm_aig_train_stable_v1_%j.out
        slurm-racon-%j.out mucola_clean_%j.out %u_%x_%j.log slurm_%A_%a.out slurm-%j.err
        output_%x_%A_%a %A_%a.out slurm.%j.out %j.out ablation-dubins-car_%A_%a.out
        job.onf.%j.%N.out %x-%j.out %x.%j.out %x-%J-%u.out %x_%j.out numina-cot-sft-%j.out
        supcon_r152_pixel50_%j.out synth_n600000_k4_bs512-%j.out prep_mel256_combined_%j.out
        bl18_pxtal_test.e%j bl18_pxtal_test.o%j slurm-%j-count.out
        kraken2_profiling_from_kaiju_remaining__last_out_%j.txt maiter_R_tainn.%J.err
        cpg_qc.%A_%a.log stdout.%j.%N %j.%N.stdout symbench.%j.%N.out P529.SF12794v1-1.%j.%N.txt
        slurm-grid-stdout-%j.log slurm_uie_cont500_%j.out slurm-%j_cond1_eeg_eeg_mp.out
        slurm-%j-central.out slurm-exp056-seed-ens-%j.out spmv.o%j %x.o%j.log
        mm2_samtools_bedtools_FAD.o%A.%a log_slurm.o%j scan_%A.out slurm.%x-%A_%a.out
        %A.%x_%a.out hcs_80k_small_ws_%j FinalSurvivorMerge_%j.err error_%x_%j.err
        legoesm-mpas-%j.out VCF_Extraction.err.log rgb_grayscale.out HW02_task2.out FASTQ.sh.out
        NMC_bkerror.err controller_fullplate.out cifar100.out disorder_ppo_0.25pec.log slurm.out
        ratMap_%a.txt FASTQC_READ1.out";

    #[test]
    fn the_preset_of_slurm_finds_the_job_in_the_names_of_public_scripts_and_invents_none() {
        let pattern = pattern("slurm");
        let mut names = 0;
        for text in OF_SCRIPTS.split_whitespace() {
            let name = of_sbatch(text);
            let has_job = ["%j", "%J", "%A"].iter().any(|job| text.contains(job));
            let has_task = text.contains("%A_%a");
            let wanted = match (has_job, has_task) {
                (true, true) => "id=4711023 task=17",
                (true, false) => "id=4711023",
                (false, _) => "",
            };
            assert_eq!(fields(&pattern, &name), wanted, "{name}");
            names += 1;
        }
        assert_eq!(names, 60);
    }

    #[test]
    fn each_preset_finds_the_job_where_its_scheduler_writes_it() {
        for (preset, text, wanted) in [
            ("gridengine", "sim.o42", "stream=o id=42"),
            ("gridengine", "sim.pe42.7", "stream=e id=42 task=7"),
            ("gridengine", "sim.log", ""),
            ("pbs", "42.head.OU", "id=42 server=head spool=OU"),
            ("pbs", "42[7].head.site.org.ER", "id=42 task=7 server=head.site.org spool=ER"),
            ("pbs", "sim.o42", "stream=o id=42"),
            ("pbs", "sim.e42.7", "stream=e id=42 task=7"),
            ("pbs", "sim.e42-7", "stream=e id=42 task=7"),
            ("pbs", "v1.2", ""),
            ("htcondor", "sim.42.0.out", "id=42 proc=0"),
            ("htcondor", "42.1.err", "id=42 proc=1"),
            ("htcondor", "run/sim_42_3.log", "id=42 proc=3"),
            ("htcondor", "42/0/cluster42.proc0.subproc0/_condor_stdout", "id=42 proc=0"),
            ("htcondor", "sim.log", ""),
            ("arc", "job.a7Bc9.errors", "id=a7Bc9"),
            ("arc", "job.a7Bc9.status", ""),
            (
                "airflow",
                "dag_id=etl.daily/run_id=manual__2026-01-01T00:00:00+00:00/task_id=g.load/attempt=2.log",
                "dag=etl.daily run=manual__2026-01-01T00:00:00+00:00 task=g.load attempt=2",
            ),
            (
                "airflow",
                "logs/dag_id=d/run_id=r/task_id=t/map_index=3/attempt=1.log",
                "dag=d run=r task=t map=3 attempt=1",
            ),
            ("airflow", "scheduler/latest.log", ""),
        ] {
            assert_eq!(fields(&pattern(preset), text), wanted, "{preset} {text}");
        }
    }
}
