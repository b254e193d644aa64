package tandem

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"tandem/auth"
	"tandem/cluster"
	"tandem/configs"
	"tandem/dialplan"
	"tandem/pbx"
	"tandem/pbx/mailbox"
	"tandem/sip"
)

// Restore fills the empty data directory of a node that does not run with what a backup of size bytes holds: the node is the only member of a new
// cluster then. keyFile is the key file that was kept beside the backup; "" means that it is in its place already. On an error the directory holds
// no more than that key.
func Restore(c configs.Config, file io.ReadSeeker, size int64, keyFile string, log *slog.Logger) error {
	if _, err := os.Stat(filepath.Join(c.ClusterDir(), "cluster.pem")); err == nil || hasLog(c) {
		return fmt.Errorf("%w: %s; restore into an empty one, or into the running cluster with --live", ErrHasCluster, c.Node.DataDir)
	}
	head, err := cluster.CheckBackup(file, size)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if keyFile != "" {
		text, err := os.ReadFile(keyFile)
		if err != nil {
			return fmt.Errorf("the copy of the key file cannot be read: %w", err)
		}
		if err := keepRightKey(c.AuthKeyFile(), keyFile, text, head.Key); err != nil {
			return err
		}
	}
	if _, err := os.Stat(c.AuthKeyFile()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the secrets in the backup are sealed with key %s, and there is no key file %s: name the copy that was kept beside the backup with --key-file", head.Key, c.AuthKeyFile())
	}
	machines, key, err := freshMachines(c)
	if err != nil {
		return err
	}
	// Without cluster.listen: where the node is reached is agreed on when it starts.
	cl, err := cluster.New(cluster.Config{Node: c.Node.Name, Dir: c.ClusterDir(), Machines: machines, SealedBy: key, Log: log})
	if err != nil {
		return err
	}
	_, err = cl.Found(file, size)
	return err
}

// freshMachines are empty ones as a node has them, and the name of the key with which they seal.
func freshMachines(c configs.Config) (machines map[string]cluster.Machine, key string, err error) {
	quiet := slog.New(slog.DiscardHandler)
	accounts, err := auth.New(auth.Config{KeyFile: c.AuthKeyFile(), Log: quiet})
	if err != nil {
		return nil, "", err
	}
	plans, err := dialplan.New(dialplan.Config{Log: quiet})
	return map[string]cluster.Machine{"auth": accounts, "dialplan": plans, sip.LocationMachine: sip.NewLocation(), mailbox.Machine: mailbox.NewIndex(), auth.SecretsMachine: auth.NewSecrets(accounts), pbx.AgentsMachine: pbx.NewAgents(), pbx.PromptsMachine: pbx.NewPrompts(nil)}, accounts.KeyID(), err
}

// keepRightKey puts a key into its place, when it is the one that a backup needs.
func keepRightKey(place, from string, text []byte, want string) error {
	id, err := auth.KeyIDOf(from, text)
	if err != nil {
		return err
	}
	if id != want {
		return fmt.Errorf("%w: its secrets are sealed with key %s, and %s holds %s", cluster.ErrBackup, want, from, id)
	}
	return auth.KeepKey(place, text)
}
