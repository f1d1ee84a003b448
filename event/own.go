package event

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The applications of our own events.
const (
	// Logger has the events that the device model defines; number and name
	// are the model's.
	Logger = "LOGGER"
	// Acctpull has the events that only acctpull knows.
	Acctpull = "ACCTPULL"
)

// Definition describes one kind of event. Application and Number never change
// and are never used for another kind.
type Definition struct {
	Application string
	Number      int
	Name        string
	Severity    Severity // the default; every event of the kind has it so far
	Stream      Stream
	// Message is the text with $name$ for the parameters and $subject$.
	Message string
	// Params are the names of the parameters, in order.
	Params []string
	// Meaning says when the event is raised and what to do.
	Meaning string
}

// Own returns the definitions of all events that acctpull raises, by
// application and number.
func Own() []Definition { return slices.Clone(own[:]) }

// Indexes of own.
const (
	filePulled = iota
	fileQuarantined
	fileLost
	nameReused
	pullFailed
	hostKeyUnknown
	hostKeyChanged
	authRefused
	counterOverflow
	unknownFields
	fileRecovered
	fileExpired
	sweepRefused
	fileServed
	accessRefused
	policyDown
	policyUp
	objectMissing
	objectFound
	countersRestarted
	recoveryFailed
	controlUnavailable
	configLoaded
	configRefused
	deviceLate
	exported
	fileLeft
	fileReplayed
	recordingEnded
	weakConnection
	deviceTakenOver
	leaseLost
	filesRemoved
	removalRefused
	ledgerAway
	ledgerBack
	clockOff
	archiveExpired
	holdAdded
	holdReleased
	choreFailed
	spaceContention
	adminLocFailed
	backupLocFailed
	fileRollover
	fileDeleted
	dataLoss
)

var own = [...]Definition{
	filePulled: {Acctpull, 2001, "filePulled", Indeterminate, Main,
		"Accounting file $file$ of $device$ is stored ($bytes$ bytes)",
		[]string{"device", "file", "bytes", "sha256"},
		"A file was fetched, read to its end, and is durable in the archive and in the ledger."},
	fileQuarantined: {Acctpull, 2002, "fileQuarantined", Major, Main,
		"Accounting file $file$ of $device$ is in quarantine: $reason$",
		[]string{"device", "file", "reason"},
		"A file could not be trusted. Its bytes are kept in quarantine with the reason beside them, and none of its records are in the dataset. It is fetched again when the device lists it with another size or time, and otherwise up to three times in the hours that follow."},
	fileLost: {Acctpull, 2003, "fileLost", Major, Main,
		"Accounting file $file$ of $device$ was deleted before it could be fetched: $reason$",
		[]string{"device", "file", "reason"},
		"A listed file was gone when it was to be fetched: its records are lost unless another system has them. Pull more often, or raise the retention on the device."},
	nameReused: {Acctpull, 2004, "nameReused", Warning, Main,
		"Device $device$ gave other content under the name $file$: $reason$",
		[]string{"device", "file", "reason"},
		"A name that is in the archive already came with other content, as happens after a device clock was set back. Both files are kept and exported."},
	pullFailed: {Acctpull, 2005, "pullFailed", Major, Main,
		"Device $device$ could not be pulled: $reason$",
		[]string{"device", "reason"},
		"A device gave no files in this run. Files wait on it until its retention deletes them."},
	hostKeyUnknown: {Acctpull, 2006, "hostKeyUnknown", Minor, Security,
		"Device $device$ at $address$ shows the unknown host key $key$",
		[]string{"device", "address", "key"},
		"No key of this host is known, so nothing was sent to it. Compare the fingerprint with the one on the device console, then pin it."},
	hostKeyChanged: {Acctpull, 2007, "hostKeyChanged", Critical, Security,
		"Device $device$ at $address$ shows the host key $key$ instead of $known$",
		[]string{"device", "address", "known", "key"},
		"The device was replaced, its key was renewed, or another machine answers in its place. Nothing was sent to it. Find out which before approving the new key."},
	authRefused: {Acctpull, 2008, "authRefused", Major, Security,
		"Device $device$ refused the login of $user$: $reason$",
		[]string{"device", "user", "reason"},
		"The device refused every credential. It is not tried again in this run, so that the user is not locked out."},
	counterOverflow: {Acctpull, 2009, "counterOverflow", Minor, Main,
		"Accounting file $file$ of $device$ has $count$ counters above 9223372036854775807 in $record$",
		[]string{"device", "file", "record", "count"},
		"The counters are NULL in their columns and exact in the column overflow."},
	unknownFields: {Acctpull, 2010, "unknownFields", Warning, Main,
		"Accounting file $file$ of $device$ has $count$ unknown fields: $names$",
		[]string{"device", "file", "names", "count"},
		"Fields or sub-records that the catalogue does not know were kept and counted. acctpull inspect shows where they stand, and a profile can name them."},
	fileRecovered: {Acctpull, 2011, "fileRecovered", Warning, Main,
		"Accounting file $file$ of policy $policy$ was recovered after a crash: $reason$",
		[]string{"policy", "file_id", "file", "reason"},
		"A file that was being written when the last run ended was brought to order. The reason says whether it was completed, and what was cut off."},
	fileExpired: {Acctpull, 2012, "fileExpired", Indeterminate, Main,
		"File $file$ was deleted: $reason$",
		[]string{"policy", "file_id", "file", "reason"},
		"The retention of the file had ended. Deletion for lack of space is tmnxLogFileDeleted."},
	sweepRefused: {Acctpull, 2013, "sweepRefused", Major, Main,
		"The retention sweep of $subject$ refused to delete $files$ files: $reason$",
		[]string{"files", "reason"},
		"Too many files would have gone at once, or the clock cannot be believed. Look at the clock and at the plan (sweep --dry-run) before forcing it."},
	fileServed: {Acctpull, 2014, "fileServed", Indeterminate, Main,
		"File $file$ was sent to $user$ at $address$ over $protocol$ ($bytes$ bytes)",
		[]string{"file", "user", "address", "protocol", "bytes"},
		"A client of the read-only server read a file, or the part of it that the number of bytes says."},
	accessRefused: {Acctpull, 2015, "accessRefused", Warning, Security,
		"A client at $address$ was refused: $reason$",
		[]string{"address", "user", "what", "reason"},
		"A connection, login or request to the read-only server was turned down. Many of them from one address are an attack or a misconfigured collector."},
	policyDown: {Acctpull, 2016, "policyDown", Major, Main,
		"Accounting policy $policy$ is operationally down: $reason$",
		[]string{"policy", "file_id", "reason"},
		"The records of the policy cannot be written. What was written before is kept; counters go on counting, records of these intervals are lost. It ends with policyUp."},
	policyUp: {Acctpull, 2017, "policyUp", Cleared, Main,
		"Accounting policy $policy$ is operationally up again",
		[]string{"policy", "file_id"},
		"Records of the policy are written again. It clears policyDown."},
	objectMissing: {Acctpull, 2018, "objectMissing", Minor, Main,
		"$object$ of policy $policy$ cannot be read: $reason$",
		[]string{"policy", "object", "reason"},
		"An object of the configuration has no counters now. The other objects are collected. It is told once and ends with objectFound."},
	objectFound: {Acctpull, 2019, "objectFound", Cleared, Main,
		"$object$ of policy $policy$ can be read again",
		[]string{"policy", "object"},
		"It clears objectMissing."},
	countersRestarted: {Acctpull, 2020, "countersRestarted", Warning, Main,
		"The counters of $object$ of policy $policy$ began again: $reason$",
		[]string{"policy", "object", "reason"},
		"The object was made anew or its counters were reset: the values before and after cannot be subtracted from each other."},
	recoveryFailed: {Acctpull, 2021, "recoveryFailed", Major, Main,
		"Files of an earlier run could not be brought to order: $reason$",
		[]string{"reason"},
		"Files that an earlier run left open are still in act-collect/. Collecting goes on. They are tried again at the next start."},
	controlUnavailable: {Acctpull, 2022, "controlUnavailable", Warning, Main,
		"There is no control socket: $reason$",
		[]string{"reason"},
		"The agent collects, but acctpull show, clear and reload cannot reach it. Give it a socket with control-socket in the configuration."},
	configLoaded: {Acctpull, 2023, "configLoaded", Indeterminate, Main,
		"Configuration $file$ was read again: $what$",
		[]string{"file", "what"},
		"A changed configuration took effect without a restart."},
	configRefused: {Acctpull, 2024, "configRefused", Major, Main,
		"Configuration $file$ was not taken: $reason$",
		[]string{"file", "reason"},
		"The file has mistakes, all of which are named. What was in effect before stays so. Correct the file and send SIGHUP again."},
	deviceLate: {Acctpull, 2025, "deviceLate", Major, Main,
		"Device $device$ is visited $late$ after its files may have begun to expire",
		[]string{"device", "late"},
		"The last good visit is longer ago than files live on the device, so some may be lost. The gap, if there is one, shows in the data. Find out why earlier visits failed, or visit more devices at once."},
	exported: {Acctpull, 2026, "exported", Indeterminate, Main,
		"$records$ records of $files$ files are in the dataset",
		[]string{"files", "records", "outputs"},
		"Fetched files were exported; outputs is the number of Parquet files."},
	fileLeft: {Acctpull, 2027, "fileLeft", Major, Main,
		"Accounting file $file$ of policy $policy$ could not be closed: $reason$",
		[]string{"policy", "file_id", "file", "reason"},
		"A policy goes on with another file. This one stays in act-collect/, with everything that was committed to it, and is closed at the next start."},
	fileReplayed: {Acctpull, 2028, "fileReplayed", Indeterminate, Main,
		"Recorded file $file$: $passed$ records of $record$ passed, $left$ did not: $reason$",
		[]string{"record", "file", "passed", "left", "reason"},
		"The source replay has come to the end of a recorded file for one record name. The reason says what did not pass and why: records of other names, of objects that the configuration does not list, records that cannot be used, or a file that cannot be read."},
	recordingEnded: {Acctpull, 2029, "recordingEnded", Warning, Main,
		"The recording of $record$ has ended: $reason$",
		[]string{"record", "reason"},
		"The source replay has given out the last recorded interval of a record. Nothing more is collected, or the recording begins again and so do the counters; the reason says which."},
	weakConnection: {Acctpull, 2030, "weakConnection", Warning, Security,
		"The connection to device $device$ is not safe: $reason$",
		[]string{"device", "reason"},
		"Raised once per device and process. FTP, which was asked for, protects nothing; or SSH came about only with algorithms that legacy allows. Give the device SFTP, SCP or current algorithms, and take the permission away."},
	deviceTakenOver: {Acctpull, 2040, "deviceTakenOver", Warning, Main,
		"Device $device$ is taken over from the node $from$",
		[]string{"device", "from"},
		"The node that visited the device gave no sign of life for a lease: it was killed, or cut off from the ledger. Another one puts the archive of the device in order and goes on. Nothing is lost by it."},
	filesRemoved: {Acctpull, 2046, "filesRemoved", Indeterminate, Main,
		"$files$ exported files were removed from device $device$ ($bytes$ bytes)",
		[]string{"device", "files", "bytes"},
		"The inventory has remove-after-export for the device. Archive and dataset have the files durably, and the copy in the archive was read back and compared right before."},
	removalRefused: {Acctpull, 2047, "removalRefused", Warning, Main,
		"$files$ exported files stay on device $device$: $reason$",
		[]string{"device", "files", "reason"},
		"The inventory has remove-after-export for the device, and the files could not be removed. Nothing is lost; the next visit tries again."},
	leaseLost: {Acctpull, 2041, "leaseLost", Warning, Main,
		"The node $node$ has lost device $device$ to another one",
		[]string{"device", "node"},
		"This process could not renew its lease in time, because it was stopped or the ledger did not answer. What it was doing with the device is void; another node does it, or has done it."},
	ledgerAway: {Acctpull, 2042, "ledgerAway", Major, Main,
		"The shared ledger does not answer the node $node$: $reason$",
		[]string{"node", "reason"},
		"No visit begins without the ledger. Files wait on the devices until it answers again; mend the database before their retention is over."},
	ledgerBack: {Acctpull, 2043, "ledgerBack", Cleared, Main,
		"The shared ledger answers the node $node$ again",
		[]string{"node"},
		"Visits begin again, those first that are nearest to losing a file."},
	clockOff: {Acctpull, 2050, "clockOff", Warning, Main,
		"The clock of $device$ is $off$",
		[]string{"device", "off"},
		"A device's clock is off by more than a minute, measured by when its files were closed and listed. Its intervals and file names are by that clock; set it, or let it follow a time server. It is told once, until the clock is right again."},
	archiveExpired: {Acctpull, 2070, "archiveExpired", Indeterminate, Main,
		"$files$ accounting files and $days$ days of tables have expired here and were deleted ($bytes$ bytes)",
		[]string{"files", "days", "bytes"},
		"The retention of the central side had ended for them, and nothing held them. The ledger keeps what they were: no file is fetched or exported a second time."},
	holdAdded: {Acctpull, 2071, "holdAdded", Warning, Security,
		"$by$ has put hold $id$ in force on $what$: $reason$",
		[]string{"id", "what", "by", "reason"},
		"A legal hold: what it touches is not deleted here, whatever the retention, until it is released."},
	holdReleased: {Acctpull, 2072, "holdReleased", Warning, Security,
		"$by$ has released hold $id$ on $what$: $reason$",
		[]string{"id", "what", "by", "reason"},
		"What only this hold has kept is deleted by the next sweep."},
	choreFailed: {Acctpull, 2060, "choreFailed", Major, Main,
		"Looking after the dataset: $chore$ ended early: $reason$",
		[]string{"chore", "reason"},
		"One of the hourly works on what is here already, such as compaction. What it has finished stays, nothing is half done, fetching and export go on, and it is tried again an hour later. The reason says what needs a person."},
	spaceContention: {Logger, 2005, "tmnxLogSpaceContention", Major, Main,
		"There is no room for a file of policy $policy$ at $location$: $reason$",
		[]string{"policy", "file_id", "location", "reason"},
		"The location has no room for the next file or the next records. Expired files are deleted first, then closed files from the oldest on; each of those has its own tmnxLogFileDeleted. The severity and the text are ours."},
	adminLocFailed: {Logger, 2006, "tmnxLogAdminLocFailed", Minor, Main,
		"The location $location$ of policy $policy$ takes no file: $reason$",
		[]string{"policy", "file_id", "location", "reason"},
		"No file could be made at the configured location. The backup location is tried, if there is one. The severity and the text are ours."},
	backupLocFailed: {Logger, 2007, "tmnxLogBackupLocFailed", Major, Main,
		"The backup location $location$ of policy $policy$ takes no file: $reason$",
		[]string{"policy", "file_id", "location", "reason"},
		"No file could be made at the backup location either: the policy goes operationally down. The severity and the text are ours."},
	fileRollover: {Logger, 2008, "tmnxLogFileRollover", Indeterminate, Main,
		"Accounting file $file$ of policy $policy$ is closed ($bytes$ bytes)",
		[]string{"policy", "file_id", "file", "bytes"},
		"A file was sealed and moved to act/, where it never changes again. The severity and the text are ours: the device documentation does not give them."},
	fileDeleted: {Logger, 2009, "tmnxLogFileDeleted", Major, Main,
		"File $file$ was deleted at $location$ to make room: $reason$",
		[]string{"policy", "file_id", "file", "location", "created", "reason"},
		"A closed file was deleted by space contention, not by its retention (that is fileExpired). If nobody had fetched it, its records are lost. The severity and the text are ours."},
	dataLoss: {Logger, 2014, "tmnxLogAccountingDataLoss", Major, Main,
		"Accounting data loss occurred for $subject$.",
		[]string{"policy", "file_id", "objects", "records", "count", "reason"},
		"Records of a collection interval could not be written in time or at all and are missing: of the number of objects that the policy collects, the number of records was written. count is how many intervals of the policy are incomplete so far. Text and severity are those of the device."},
}

// make fills in a definition. values are those of d.Params, in order.
func (d *Definition) make(now time.Time, subject string, values ...string) Event {
	params := make([]Param, len(d.Params))
	pairs := make([]string, 0, 2*len(params)+2)
	pairs = append(pairs, "$subject$", subject)
	for i, name := range d.Params {
		params[i] = Param{Name: name, Value: values[i]}
		pairs = append(pairs, "$"+name+"$", values[i])
	}
	return Event{
		Time: now, Application: d.Application, Number: d.Number, Name: d.Name,
		Severity: d.Severity, Stream: d.Stream, Subject: subject,
		Message: strings.NewReplacer(pairs...).Replace(d.Message),
		Params:  params,
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// FilePulled: a file is stored in the archive.
func FilePulled(now time.Time, device, file string, bytes int64, sha256 string) Event {
	return own[filePulled].make(now, device, device, file, decimal(bytes), sha256)
}

// FileQuarantined: a file cannot be trusted, for the reason given.
func FileQuarantined(now time.Time, device, file, reason string) Event {
	return own[fileQuarantined].make(now, device, device, file, reason)
}

// FileLost: a listed file was gone before it could be fetched.
func FileLost(now time.Time, device, file, reason string) Event {
	return own[fileLost].make(now, device, device, file, reason)
}

// NameReused: a name came again with other content; both are kept.
func NameReused(now time.Time, device, file, reason string) Event {
	return own[nameReused].make(now, device, device, file, reason)
}

// PullFailed: a device gave no files in this run.
func PullFailed(now time.Time, device, reason string) Event {
	return own[pullFailed].make(now, device, device, reason)
}

// HostKeyUnknown: a host showed a key, given by its fingerprint, and none is
// known for it.
func HostKeyUnknown(now time.Time, device, address, key string) Event {
	return own[hostKeyUnknown].make(now, device, device, address, key)
}

// HostKeyChanged: a host showed another key than the known one; both are given
// by their fingerprints.
func HostKeyChanged(now time.Time, device, address, known, key string) Event {
	return own[hostKeyChanged].make(now, device, device, address, known, key)
}

// WeakConnection: a connection stands on nothing that protects it, because that
// was asked for.
func WeakConnection(now time.Time, device, reason string) Event {
	return own[weakConnection].make(now, device, device, reason)
}

// AuthRefused: a device refused every credential of a user.
func AuthRefused(now time.Time, device, user, reason string) Event {
	return own[authRefused].make(now, device, device, user, reason)
}

// CounterOverflow: count counters of records of a name exceed 2^63-1.
func CounterOverflow(now time.Time, device, file, record string, count int64) Event {
	return own[counterOverflow].make(now, device, device, file, record, decimal(count))
}

// UnknownFields: a file has count fields or sub-records of names that the
// catalogue does not know.
func UnknownFields(now time.Time, device, file string, names []string, count int64) Event {
	return own[unknownFields].make(now, device, device, file, strings.Join(names, " "), decimal(count))
}

// ConfigLoaded: a configuration took effect again; what tells its extent.
func ConfigLoaded(now time.Time, file, what string) Event {
	return own[configLoaded].make(now, file, file, what)
}

// ConfigRefused: a configuration has mistakes, and the one before stays.
func ConfigRefused(now time.Time, file, reason string) Event {
	return own[configRefused].make(now, file, file, reason)
}

// DeviceLate: a visit begins when files may have expired unseen.
func DeviceLate(now time.Time, device, late string) Event {
	return own[deviceLate].make(now, device, device, late)
}

// Exported: records of fetched files are in the dataset.
func Exported(now time.Time, files int, records int64, outputs int) Event {
	return own[exported].make(now, "dataset", strconv.Itoa(files), decimal(records), strconv.Itoa(outputs))
}

// FileRecovered: a file that a crash left open was brought to order.
func FileRecovered(now time.Time, policy, fileID int, file, reason string) Event {
	return own[fileRecovered].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), file, reason)
}

// FileExpired: retention deleted a file, for the reason given.
func FileExpired(now time.Time, policy, fileID int, file, reason string) Event {
	return own[fileExpired].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), file, reason)
}

// SweepRefused: a sweep of a directory would have deleted files and did not.
func SweepRefused(now time.Time, directory string, files int64, reason string) Event {
	return own[sweepRefused].make(now, directory, decimal(files), reason)
}

// FileServed: a client of the read-only server read a file.
func FileServed(now time.Time, file, user, address, protocol string, bytes int64) Event {
	return own[fileServed].make(now, file, file, user, address, protocol, decimal(bytes))
}

// AccessRefused: the read-only server turned something down: a connection, a
// login, a request.
func AccessRefused(now time.Time, address, user, what, reason string) Event {
	return own[accessRefused].make(now, address, address, user, what, reason)
}

// FileRollover: an accounting file was closed and sealed.
func FileRollover(now time.Time, policy, fileID int, file string, bytes int64) Event {
	return own[fileRollover].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), file, decimal(bytes))
}

// FileDeleted: space contention deleted a closed file at a location, for the
// reason given. Created is the time in its name.
func FileDeleted(now time.Time, policy, fileID int, file, location string, created time.Time, reason string) Event {
	return own[fileDeleted].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), file, location, created.UTC().Format(time.RFC3339), reason)
}

// ControlUnavailable: an agent runs without its control socket.
func ControlUnavailable(now time.Time, err error) Event {
	return own[controlUnavailable].make(now, "control socket", text(err))
}

// SpaceContention: a location has no room for what a policy has to write.
func SpaceContention(now time.Time, policy, fileID int, location string, err error) Event {
	return own[spaceContention].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), location, text(err))
}

// AdminLocFailed: the configured location of a policy takes no file.
func AdminLocFailed(now time.Time, policy, fileID int, location string, err error) Event {
	return own[adminLocFailed].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), location, text(err))
}

// BackupLocFailed: the backup location of a policy takes no file.
func BackupLocFailed(now time.Time, policy, fileID int, location string, err error) Event {
	return own[backupLocFailed].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), location, text(err))
}

// DataLoss: an interval of a policy over a number of objects is incomplete; of
// it, records are written. count is how many such intervals there were so far.
func DataLoss(now time.Time, policy, fileID, objects, records int, count uint64, err error) Event {
	return own[dataLoss].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID),
		strconv.Itoa(objects), strconv.Itoa(records), strconv.FormatUint(count, 10), text(err))
}

// PolicyDown: the records of a policy cannot be written.
func PolicyDown(now time.Time, policy, fileID int, err error) Event {
	return own[policyDown].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), text(err))
}

// PolicyUp: the records of a policy can be written again.
func PolicyUp(now time.Time, policy, fileID int) Event {
	return own[policyUp].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID))
}

// ObjectMissing: an object of a policy cannot be read, for the reason given.
func ObjectMissing(now time.Time, policy int, object, reason string) Event {
	return own[objectMissing].make(now, object, strconv.Itoa(policy), object, reason)
}

// ObjectFound: an object of a policy can be read again.
func ObjectFound(now time.Time, policy int, object string) Event {
	return own[objectFound].make(now, object, strconv.Itoa(policy), object)
}

// CountersRestarted: the counters of an object of a policy began again; reason
// says how that was seen.
func CountersRestarted(now time.Time, policy int, object, reason string) Event {
	return own[countersRestarted].make(now, object, strconv.Itoa(policy), object, reason)
}

// RecoveryFailed: files of an earlier run are still open.
func RecoveryFailed(now time.Time, err error) Event {
	return own[recoveryFailed].make(now, "recovery", text(err))
}

// FileLeft: a file that a policy is done with could not be closed.
func FileLeft(now time.Time, policy, fileID int, file string, err error) Event {
	return own[fileLeft].make(now, policySubject(policy), strconv.Itoa(policy), strconv.Itoa(fileID), file, text(err))
}

// text is that of an error in one line, "unknown" for none.
// FileReplayed: of a recorded file passed records were given out and left were
// not, for the reason given.
func FileReplayed(now time.Time, record, file string, passed, left int, reason string) Event {
	return own[fileReplayed].make(now, record, record, file, strconv.Itoa(passed), strconv.Itoa(left), reason)
}

// ClockOff: a device's clock is not ours; off says how far and which way.
func ClockOff(now time.Time, device, off string) Event {
	return own[clockOff].make(now, device, device, off)
}

// RecordingEnded: there is no further recorded interval; reason tells what
// happens then.
func RecordingEnded(now time.Time, record, reason string) Event {
	return own[recordingEnded].make(now, record, record, reason)
}

// DeviceTakenOver: a node that held a device is gone.
func DeviceTakenOver(now time.Time, device, from string) Event {
	return own[deviceTakenOver].make(now, device, device, from)
}

// FilesRemoved: exported files were removed from a device, as the inventory asks.
func FilesRemoved(now time.Time, device string, files int, bytes int64) Event {
	return own[filesRemoved].make(now, device, device, strconv.Itoa(files), decimal(bytes))
}

// RemovalRefused: exported files stay on a device, for the reason given.
func RemovalRefused(now time.Time, device string, files int, reason string) Event {
	return own[removalRefused].make(now, device, device, strconv.Itoa(files), reason)
}

// LeaseLost: this process was away for too long.
func LeaseLost(now time.Time, device, node string) Event {
	return own[leaseLost].make(now, device, device, node)
}

// LedgerAway: the database of the nodes does not answer.
func LedgerAway(now time.Time, node, reason string) Event {
	return own[ledgerAway].make(now, "ledger", node, reason)
}

// LedgerBack: it answers again.
func LedgerBack(now time.Time, node string) Event {
	return own[ledgerBack].make(now, "ledger", node)
}

// ArchiveExpired: a sweep of the central side deleted something.
func ArchiveExpired(now time.Time, directory string, files, days int, bytes int64) Event {
	return own[archiveExpired].make(now, directory, strconv.Itoa(files), strconv.Itoa(days), decimal(bytes))
}

// HoldAdded: a person put a legal hold in force.
func HoldAdded(now time.Time, id int64, what, by, reason string) Event {
	return own[holdAdded].make(now, holdSubject(id), decimal(id), what, by, reason)
}

// HoldReleased: a person ended one.
func HoldReleased(now time.Time, id int64, what, by, reason string) Event {
	return own[holdReleased].make(now, holdSubject(id), decimal(id), what, by, reason)
}

func holdSubject(id int64) string { return "hold " + decimal(id) }

// ChoreFailed: hourly work of the service on its dataset ended with an error.
func ChoreFailed(now time.Time, chore string, err error) Event {
	return own[choreFailed].make(now, chore, chore, text(err))
}

// text is that of an error, "unknown" for none.
func text(err error) string {
	if err == nil {
		return "unknown"
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "; ")
}

func policySubject(policy int) string { return "accounting policy " + strconv.Itoa(policy) }
