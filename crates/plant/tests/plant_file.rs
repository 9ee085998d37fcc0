//! The form of a plant file, through the public door.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use sightglass_plant::{
    AdviceLimits, CameraFeed, Device, EncoderChoice, FILE_BYTES_MAX, JsonTime, ModbusDevice, ModbusFraming, ModelSize,
    MqttBroker, MqttPayload, MqttTls, MqttVersion, OpcUaPolicy, OpcUaSecurity, OpcUaServer, OpcUaUser, Plant,
    PlantErrors, RtspCamera, RtspTransport, SampleFile, SampleFormat, SampleLayout, SecretRef, SourceKind, TAGS_MAX,
    WordOrder, load, parse, to_text,
};
use sightglass_protocol::{CameraId, LineId, Roi, Role, TagId};

fn parsed(text: &str) -> Result<Plant, PlantErrors> {
    parse(text, "plant.toml", Path::new("/plants/one"))
}

const SMALLEST: &str = r#"
[plant]
name = "p"
[[line]]
name = "l"
[[source]]
name = "s"
kind = "file"
path = "a.csv"
[[tag]]
name = "level"
role = "measurement"
"#;

#[test]
fn a_good_file_becomes_the_plant_it_describes() {
    let plant = parsed(include_str!("good/plant.toml")).unwrap();
    assert_eq!(plant.name, "Bottling hall");
    assert_eq!(plant.model.path, Some(PathBuf::from("/plants/one/models/line.safetensors")));
    assert_eq!((plant.model.false_alarms_per_week, plant.model.device), (0.5, Device::Cpu));
    assert_eq!((plant.model.size, plant.model.seed, plant.model.epochs_max), (ModelSize::Small, 7, 12));
    assert_eq!(plant.model.encoder, Some(EncoderChoice::Vjepa2("/plants/one/models/vjepa2".into())));
    let kept = plant.retention;
    assert_eq!((kept.samples_days, kept.samples_gib, kept.video_days, kept.video_gib), (30.0, 1.5, 2.0, 5.0));
    assert_eq!((kept.rollups_days, kept.rollups_gib), (300.0, 0.5), "ten times as long as samples where not said");

    let [first, second] = &plant.lines[..] else { panic!("two lines") };
    assert_eq!((first.tick_ns, first.grace_ns), (500_000_000, 0));
    assert_eq!((second.tick_ns, second.grace_ns), (1_000_000_000, 200_000_000));
    assert_eq!((&first.tags[..], &first.cameras[..]), (&[TagId(0), TagId(1)][..], &[CameraId(0)][..]));
    assert_eq!((&second.tags[..], second.cameras.len()), (&[TagId(2)][..], 3));

    let expected = SampleFile {
        paths: vec!["/plants/one/a.csv".into(), "/data/b.csv".into()],
        format: SampleFormat::Csv { separator: b';' },
        layout: SampleLayout::Wide,
        time_column: "datetime".to_owned(),
    };
    assert_eq!(plant.sources[0].kind, SourceKind::File(expected));
    let SourceKind::File(lake) = &plant.sources[1].kind else { panic!("a file") };
    assert_eq!((lake.format, lake.time_column.as_str()), (SampleFormat::Parquet, "time"));
    assert_eq!(plant.sources[2].kind, SourceKind::Simulator);

    let level = &plant.tags[0];
    assert_eq!((level.name.as_str(), level.unit.as_str(), level.range), ("tank_level", "%", Some((0.0, 100.0))));
    assert_eq!((level.address.as_str(), level.period_ns, level.excluded), ("Level", 2_000_000_000, false));
    assert_eq!(level.description, "Level of the supply tank");
    let speed = &plant.tags[1];
    assert_eq!((speed.address.as_str(), speed.period_ns, speed.excluded), ("feed_speed", 500_000_000, true));
    assert_eq!((speed.role, speed.source, speed.line), (Role::Output, 1, LineId(0)));
    assert_eq!((plant.tags[2].role, plant.tags[2].range), (Role::Setpoint, Some((-1.5, 1000.0))));
    assert_eq!((level.alarm, level.advise), (Some((20.0, 95.5)), None));
    let advise = AdviceLimits { low: 100.0, high: 800.0, rate_per_min: Some(50.0) };
    assert_eq!((plant.tags[2].alarm, plant.tags[2].advise), (None, Some(advise)));

    assert_eq!(plant.cameras[0].roi, Some(Roi { x: 10, y: 20, width: 300, height: 200 }));
    assert_eq!(plant.cameras[0].start.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert!(matches!(&plant.cameras[0].feed, CameraFeed::Launch(launch) if launch.starts_with("videotestsrc")));
    assert_eq!(plant.cameras[1].feed, CameraFeed::Uri("/plants/one/video/belt.mp4".to_owned()));
    assert_eq!(plant.cameras[1].start.unwrap().to_string(), "2026-01-01T00:00:01Z");
    assert_eq!((plant.cameras[1].fps, plant.cameras[0].fps), (29.97, 15.0));
    let door = RtspCamera {
        uri: "rtsp://10.0.0.9/door".to_owned(),
        transport: RtspTransport::Udp,
        user: Some("viewer".to_owned()),
        password: Some(SecretRef::Environment("DOOR".to_owned())),
        latency_ns: 500_000_000,
    };
    assert_eq!(plant.cameras[2].feed, CameraFeed::Rtsp(door));
    assert_eq!(plant.cameras[3].feed, CameraFeed::Simulator);
}

#[test]
fn the_only_line_and_the_only_source_need_not_be_named() {
    let plant = parsed(SMALLEST).unwrap();
    assert_eq!((plant.tags[0].line, plant.tags[0].source), (LineId(0), 0));
    assert_eq!((plant.model.false_alarms_per_week, plant.model.seed, plant.model.epochs_max), (1.0, 1, 40));
    let kept = plant.retention;
    assert_eq!((kept.samples_days, kept.rollups_days, kept.video_days), (400.0, 4_000.0, 14.0));
    assert_eq!((kept.samples_gib, kept.rollups_gib, kept.video_gib), (50.0, 50.0, 100.0));
}

/// Each file below `tests/bad` with everything that is said about it: plain lines, as programs read them.
#[test]
fn every_bad_file_is_answered_with_all_that_is_wrong_and_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let errors = parse(&text, &name, Path::new("")).expect_err(&name);
        insta::assert_snapshot!(name.trim_end_matches(".toml"), errors.to_string());
    }
}

#[test]
fn people_see_the_text_that_is_wrong_and_where_the_first_one_stands() {
    let twice = format!("{SMALLEST}[[tag]]\nname = \"level\"\nrole = \"measurement\"\n");
    insta::assert_snapshot!("fancy", parsed(&twice).unwrap_err().fancy());
}

#[test]
fn each_problem_is_a_related_diagnostic_with_its_label() {
    let errors = parsed("[plant]\nname = \"p\"\ntyop = 1\n").unwrap_err();
    let related: Vec<_> = errors.related().unwrap().collect();
    assert_eq!(related.len(), errors.problems().len());
    assert!(related.iter().all(|problem| problem.labels().unwrap().count() == 1 && problem.source_code().is_some()));
    let typo = errors.problems().iter().find(|problem| problem.message.contains("tyop")).unwrap();
    assert_eq!((typo.line, typo.column), (3, 1));
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let errors = parsed(&SMALLEST.replace("role = \"measurement\"", "\"Größe\" = 1\nrole = \"ö\"")).unwrap_err();
    let places: Vec<_> = errors.problems().iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(12, 1), (13, 8)]);
}

#[test]
fn a_plant_beyond_its_limits_is_refused_by_name_of_the_limit() {
    let mut text = SMALLEST.to_owned();
    for index in 0..TAGS_MAX {
        text.push_str(&format!("[[tag]]\nname = \"t{index}\"\nrole = \"measurement\"\n"));
    }
    let errors = parsed(&text).unwrap_err().to_string();
    assert!(errors.contains(&format!("there are {} [[tag]], and {TAGS_MAX} is the most", TAGS_MAX + 1)), "{errors}");
    let long = SMALLEST.replace("\"level\"", &format!("\"{}\"", "x".repeat(200)));
    assert!(parsed(&long).unwrap_err().to_string().contains("at most 128 characters"));
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    let errors = load(&absent).unwrap_err().to_string();
    assert!(errors.starts_with(&absent.display().to_string()) && errors.contains("No such file"), "{errors}");

    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"[plant]\nname = \"\xff\"\n").unwrap();
    assert!(load(&binary).unwrap_err().to_string().contains("line 2 is not UTF-8"));

    let huge = folder.path().join("huge.toml");
    std::fs::write(&huge, vec![b'\n'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(load(&huge).unwrap_err().to_string().contains("larger than 4 MiB"));
}

#[test]
fn a_file_on_disk_is_read_with_its_own_folder_as_the_start_of_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plant.toml");
    std::fs::write(&path, SMALLEST).unwrap();
    let SourceKind::File(file) = load(&path).unwrap().sources[0].kind.clone() else { panic!("a file") };
    assert_eq!(file.paths, [folder.path().join("a.csv")]);
}

#[test]
fn a_variable_in_a_path_is_replaced_and_one_that_is_not_set_is_named() {
    let with = SMALLEST.replace("a.csv", "${CARGO_MANIFEST_DIR}/a.csv");
    let SourceKind::File(file) = parsed(&with).unwrap().sources[0].kind.clone() else { panic!("a file") };
    assert_eq!(file.paths, [Path::new(env!("CARGO_MANIFEST_DIR")).join("a.csv")]);

    let unset = SMALLEST.replace("a.csv", "${SIGHTGLASS_NOT_SET}/a.csv");
    let errors = parsed(&unset).unwrap_err().to_string();
    assert!(errors.contains("SIGHTGLASS_NOT_SET") && errors.contains("is not set"), "{errors}");
    let open = SMALLEST.replace("a.csv", "${OPEN/a.csv");
    assert!(parsed(&open).unwrap_err().to_string().contains("does not close"));
}

#[test]
fn a_plant_that_is_written_back_reads_as_the_same_plant() {
    let more = "[[source]]\nname = \"long \\\"one\\\"\"\nkind = \"file\"\nlayout = \"long\"\npath = \"a\\\\b.csv\"\n\
                separator = \"\\t\"\n[[camera]]\nname = \"kept\"\nline = \"line-1\"\nclips = \"clips/kept.csv\"\n";
    let sources = include_str!("good/sources.toml").to_owned();
    for text in [SMALLEST.to_owned(), sources, format!("{}\n{more}", include_str!("good/plant.toml"))] {
        let mut plant = parsed(&text).unwrap();
        let written = to_text(&plant);
        // Its retention is its own.
        plant.retention = parsed(SMALLEST).unwrap().retention;
        assert_eq!(parsed(&written).unwrap(), plant, "{written}");
    }
    let plant = parsed(&format!("{}\n{more}", include_str!("good/plant.toml"))).unwrap();
    assert_eq!(plant.cameras[4].feed, CameraFeed::Clips("/plants/one/clips/kept.csv".into()));
    let SourceKind::File(long) = &plant.sources[3].kind else { panic!("a file") };
    assert_eq!(long.layout, SampleLayout::Long);
}

#[test]
fn controllers_and_brokers_are_described_whole() {
    let plant = parsed(include_str!("good/sources.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    let kinds: Vec<&SourceKind> = plant.sources.iter().map(|source| &source.kind).collect();
    let plc = ModbusDevice {
        host: "10.0.0.7".to_owned(),
        port: 502,
        framing: ModbusFraming::Tcp,
        unit: 1,
        word_order: WordOrder::Abcd,
        timeout_ns: 1_000_000_000,
        pause_ns: 0,
        block_max: 125,
        block_gap: 8,
        map: None,
    };
    assert_eq!(kinds[0], &SourceKind::Modbus(plc));
    let gateway = ModbusDevice {
        host: "fe80::7".to_owned(),
        port: 4001,
        framing: ModbusFraming::Rtu,
        unit: 17,
        word_order: WordOrder::Cdab,
        timeout_ns: 250_000_000,
        pause_ns: 20_000_000,
        block_max: 32,
        block_gap: 0,
        map: Some("/plants/one/registers.csv".into()),
    };
    assert_eq!(kinds[1], &SourceKind::Modbus(gateway));
    let folder = Path::new("/plants/one/certificates");
    let broker = MqttBroker {
        host: "broker.local".to_owned(),
        port: 8883,
        version: MqttVersion::V5,
        tls: Some(MqttTls {
            ca: Some(folder.join("ca.pem")),
            identity: Some((folder.join("own.pem"), folder.join("own.key"))),
        }),
        client_id: Some("sightglass-1".to_owned()),
        user: Some("reader".to_owned()),
        password: Some(SecretRef::File("/plants/one/broker.password".into())),
        keep_alive_ns: 2_000_000_000,
        payload: MqttPayload::Json {
            time: Some("meta[\"sent at\"]".parse().unwrap()),
            time_format: JsonTime::Milliseconds,
            quality: Some("q".parse().unwrap()),
        },
    };
    assert_eq!(kinds[2], &SourceKind::Mqtt(broker));
    let cell = MqttBroker {
        host: "cell".to_owned(),
        port: 1884,
        version: MqttVersion::V3,
        tls: None,
        client_id: None,
        user: Some("reader".to_owned()),
        password: Some(SecretRef::Environment("CELL_PASSWORD".to_owned())),
        keep_alive_ns: 5_000_000_000,
        payload: MqttPayload::Sparkplug,
    };
    assert_eq!(kinds[3], &SourceKind::Mqtt(cell));
    let controller = OpcUaServer {
        url: "opc.tcp://[fe80::8]:4840/line/1".to_owned(),
        publishing_ns: 250_000_000,
        sampling_ns: Some(50_000_000),
        queue: 20,
        timeout_ns: 1_000_000_000,
        security: Some(OpcUaSecurity { policy: OpcUaPolicy::Aes256Sha256RsaPss, is_encrypted: false }),
        user: OpcUaUser::Name {
            user: "reader".to_owned(),
            password: SecretRef::Environment("CELL_PASSWORD".to_owned()),
        },
        pki: "/plants/one/certificates/ua".into(),
    };
    assert_eq!(kinds[4], &SourceKind::OpcUa(controller));
    let press = OpcUaServer {
        url: "opc.tcp://press:4840".to_owned(),
        publishing_ns: 500_000_000,
        sampling_ns: None,
        queue: 100,
        timeout_ns: 2_000_000_000,
        security: Some(OpcUaSecurity { policy: OpcUaPolicy::Basic256Sha256, is_encrypted: true }),
        user: OpcUaUser::Certificate {
            certificate: "/plants/one/press.der".into(),
            key: "/plants/one/press.pem".into(),
        },
        pki: "/plants/one/pki".into(),
    };
    assert_eq!(kinds[5], &SourceKind::OpcUa(press));
    assert!(kinds.iter().all(|kind| kind.is_live()));
}

#[test]
fn a_secret_that_was_written_into_the_file_is_in_no_error() {
    let errors = parsed(include_str!("bad/sources.toml")).unwrap_err();
    for shown in [errors.to_string(), errors.fancy(), format!("{errors:?}")] {
        assert!(shown.contains("broker") && !shown.contains("S3CR3T"), "{shown}");
    }
    let broken = SMALLEST.replace("kind = \"file\"", "kind = \"mqtt\"\npassword = \"S3CR3T");
    assert!(!parsed(&broken).unwrap_err().fancy().contains("S3CR3T"));
}

#[test]
fn the_examples_of_the_page_on_sources_are_good() {
    let page = include_str!("../../../docs/sources.md");
    let examples: Vec<&str> =
        page.split("```toml").skip(1).map(|after| after.split("```").next().unwrap_or_default()).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let text = format!("[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n{example}");
        let plant = parsed(&text).unwrap_or_else(|errors| panic!("{}", errors.fancy()));
        match (&plant.sources[..], &plant.cameras[..]) {
            ([source], []) => assert!(source.kind.is_live() && plant.tags.len() == 1),
            ([], [camera]) => assert!(matches!(camera.feed, CameraFeed::Rtsp(_))),
            _ => panic!("{example}"),
        }
    }
}

#[test]
fn the_example_of_the_page_on_the_model_is_good() {
    let page = include_str!("../../../docs/model.md");
    let example = page.split("```toml").nth(1).and_then(|after| after.split("```").next()).unwrap();
    for text in [example.to_owned(), example.replace("# encoder", "encoder")] {
        let plant = parsed(&format!("{SMALLEST}{text}")).unwrap_or_else(|errors| panic!("{}", errors.fancy()));
        assert_eq!((plant.model.size, plant.model.epochs_max), (ModelSize::Nano, 40));
    }
}

#[test]
fn an_rtsp_camera_has_no_user_in_its_uri_and_no_keys_of_others() {
    let with = |camera: &str| parsed(&format!("{SMALLEST}\n[[camera]]\nname = \"c\"\n{camera}\n"));
    let plant = with("uri = \"rtsp://10.0.0.9/door\"").unwrap();
    let CameraFeed::Rtsp(camera) = &plant.cameras[0].feed else { panic!("{:?}", plant.cameras[0].feed) };
    assert_eq!((camera.transport, camera.latency_ns, &camera.user), (RtspTransport::Tcp, 200_000_000, &None));
    let refused = |camera: &str, why: &str, advice: &str| {
        let errors = with(camera).unwrap_err();
        let text = format!("{errors} {:?}", miette::Report::new(errors.clone()));
        assert!(text.contains(why) && text.contains(advice), "{camera}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    };
    refused("uri = \"rtsp://me:hunter2@10.0.0.9/door\"", "holds a user, at 10.0.0.9", "password = \"keyring:NAME\"");
    refused("uri = \"rtsp:///door\"", "names no camera", "rtsp://ADDRESS/PATH");
    refused("uri = \"rtsp://a/b\"\npassword = \"hunter2\"", "does not say where the password is", "env:NAME");
    refused("uri = \"rtsp://a/b\"\npassword = \"env:P\"", "has no 'user'", "belongs to a user");
    refused("uri = \"rtsp://a/b\"\ntransport = \"pigeon\"", "is \"pigeon\"", "tcp, udp");
    refused("uri = \"a.mp4\"\nlatency = \"1s\"", "'latency' of [[camera]] means nothing", "leave it out");
    refused(
        "uri = \"rtsp://a/b\"\nstart = \"2026-01-01T00:00:00Z\"",
        "'start' of [[camera]] means nothing",
        "leave it out",
    );
}
