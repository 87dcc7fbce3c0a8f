// Command bench measures Durable DEA on this machine and writes what it finds to docs/benchmarks.json: `make bench`. It
// starts a stack of its own from bin/, and its figures are only worth something on a machine that does nothing else.
//
// Each row has a floor from the same run: what the same work takes without the platform, or what Temporal takes for a
// part of it. A bar that is missed is said, and is no failure: a measurement is not a test.
//
//	push of hello …           from the zip in hand to RUNNING.
//	                          Floor: by hand: unzip, go install, tar, checksum, untar, start, wait for the port; with a build
//	                          cache in the same state, cold or warm.
//	empty activity            from one activity's schedule to the next one's, on another task queue.
//	                          Floor: a workflow update, which is one workflow task: an activity has that and its own task.
//	workflow update           sent, validated, carried out and answered.
//	                          Floor: a query, which takes the same way and keeps nothing.
//	activities of 300 …       300 workflows of five activities each, all started at once.
//	                          Floor: one such activity after another.
//	staging of …              from controller.Stage to the result of Wait, with the buildpack on the node: placement, both
//	                          transfers, container, build, callback and clean-up. The small app is a handful of files.
//	                          Floor: by hand in a shell: curl, unzip, the buildpack's programs, tar czf, sha1sum, curl; from
//	                          and to the same cloud controller, in turn with the platform. What it leaves is not removed on
//	                          its account. The bars are a twentieth and half a second over it, and for the large app the
//	                          floor itself.
//	staging of …: worker's …  the most memory that the worker's process held meanwhile, of all stagings.
//	                          Floor: what it held before the first.
//
//	200 tails of …            the most memory by which the worker's process grew, while 200 readers follow the log of an
//	                          instance that writes 40 KB a second.
//	                          Floor: as many processes `tail -f`, what is theirs and their share of what is not.
//
//	command in an instance    `true` as `starter exec` and ssh have it run: connection, login, session, exit status.
//	                          Floor: the same by Warden's Run, in turn.
//
//	request by the router …   2,000 a second, half of them posts, of examples/hello with two instances; the time runs from when
//	                          a request was due, as many clients find it that know nothing of each other.
//	                          Floor: the same requests straight to the instances.
//	request while …           the same while the app is scaled to four instances and back and runs again as a new version, one
//	                          instance after the other. None may fail. Floor: as above, with nothing else going on.
//
//	… (process), … (oci)      instances, with both kinds of containers; real ones need root and crun or runc.
//	start of an instance …    from controller.Run to RUNNING, the droplet being on the node: until a long poll of the app's
//	                          history has the instance's word of it, which asks no worker anything. The bar is 150 ms over
//	                          the floor.
//	                          Floor: by hand at the same wardend, in turn with the platform: container, limits, port, unpacking,
//	                          process, and a probe of the port each millisecond.
//	start of a second …       the same while another instance of the droplet runs, the platform having unpacked it already.
//	                          Floor: by hand, which unpacks. The bar is a third of it.
//	100 instances …           of one app. Floor: as many by hand, all at once.
//	exit … noticed            from kill -9 of the app's process to the signal in the instance's history.
//	                          Floor: Warden's Link returns.
//	killed instance replaced  from kill -9 to the first HTTP answer of the instance that takes its place.
//	                          Floor: by hand, begun when Link returns.
//	200 idle instances: …     watched for -idle. Floor: 20 of them. Requests are those of Temporal's own metrics.
//
// Where the time of a staging goes is shown on standard error, for the one whose time is the median; `-only staging -quick`
// shows it within two minutes and writes nothing down. So does `-only instances -quick` for starts and replacements.
package main
