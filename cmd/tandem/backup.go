package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/admin"
	"tandem/cluster"
	"tandem/configs"
)

func newBackup(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write all that the cluster has agreed on into a file", Args: needs("FILE", 1, 1),
		Long: "Write all that the cluster has agreed on into a file: accounts, API tokens, secrets of trunks, dialplans with their history, registrations. Any\n" +
			"node can be asked, at any time. Secrets stay sealed: to restore the backup the key file of the nodes is needed too (auth.key in the data\n" +
			"directory). Keep a copy of it, in another place. A file that is there already is replaced once the new one is whole.",
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			return backUp(ctx, client, out, args[0])
		}),
	}
}

// backedUp is what -o json shows of a backup.
type backedUp struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	cluster.BackupHead
}

func backUp(ctx context.Context, client *admin.Client, out *output, name string) error {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has its name
	defer file.Close()
	bar := newProgress(out, 1)
	err = client.Backup(ctx, file, func(done, about int64) { bar.bytes(done, about) })
	bar.end()
	if err != nil {
		return err
	}
	b := backedUp{File: name}
	if b.Bytes, err = file.Seek(0, io.SeekCurrent); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if b.BackupHead, err = cluster.CheckBackup(file, b.Bytes); err != nil {
		return fmt.Errorf("what the node has sent is no whole backup, so %s was not written: %w", name, err)
	}
	if err := errors.Join(file.Sync(), os.Rename(file.Name(), name)); err != nil {
		return err
	}
	if b.Behind {
		out.note("no node leads now, so changes of the last moments may not be in it")
	}
	return out.object(b, func() {
		out.say("%s: %d bytes, all that was agreed on until %s", name, b.Bytes, clock(b.Time))
		out.say("Its secrets are sealed with key %s: keep a copy of the key file (auth.key in the data directory), in another place.", b.Key)
	})
}

func newRestore(f *apiFlags) *cobra.Command {
	var live, registrations bool
	var config, key, name string
	c := &cobra.Command{
		Use: "restore FILE", Short: "Bring back what a backup holds, in an empty data directory or, with --live, in the running cluster", Args: needs("FILE", 1, 1),
		Long: "Bring back what a backup holds. Without --live the data directory of a node that does not run is filled, and must be empty: the node becomes the\n" +
			"only member of a new cluster, and others join it with tokens. --key-file names the copy of the key file that was kept beside the backup.\n\n" +
			"With --live the running cluster goes back to what the backup holds, on all nodes at once; calls go on. Accounts, API tokens, secrets and dialplans\n" +
			"of now are replaced, those that were made since are gone. Phones stay registered as they are, unless --registrations says otherwise.\n\n" +
			"The backup is checked first. One that was cut off or changed, has another key or comes from a newer program is refused, and changes nothing.",
	}
	restoreLive := f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		return restoreRunning(ctx, client, out, args[0], registrations)
	})
	c.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case live && (config != "" || key != "" || name != ""):
			return usageError{errors.New("--config, --key-file and --name are for an empty data directory, not for --live")}
		case live:
			return restoreLive(cmd, args)
		case registrations:
			return usageError{errors.New("--registrations is for --live; an empty data directory gets all")}
		}
		out, err := f.out(cmd)
		if err != nil {
			return err
		}
		cfg, err := loadConfig(cmd.ErrOrStderr(), config)
		if err != nil {
			return err
		}
		cfg.Node.DataDir, cfg.Node.Name = cmp.Or(f.dataDir, cfg.Node.DataDir), cmp.Or(name, cfg.Node.Name)
		return restoreEmpty(out, cfg, args[0], key, configFlag(config))
	}
	flags := c.Flags()
	flags.BoolVar(&live, "live", false, "into the running cluster")
	flags.BoolVar(&registrations, "registrations", false, "with --live: take the registrations from the backup too, and forget those of now")
	flags.StringVar(&config, "config", "", "configuration file of the node")
	flags.StringVar(&key, "key-file", "", "copy of the key file that was kept beside the backup; default is the one that is in place")
	flags.StringVar(&name, "name", "", "name of the node; default is node.name of its configuration")
	return c
}

// openBackup opens a file and checks it to its end.
func openBackup(name string) (file *os.File, size int64, head cluster.BackupHead, err error) {
	if file, err = os.Open(name); err != nil {
		return nil, 0, head, err
	}
	info, err := file.Stat()
	if err == nil {
		size = info.Size()
		head, err = cluster.CheckBackup(file, size)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, 0, head, fmt.Errorf("%s: %w", name, err)
	}
	return file, size, head, nil
}

func restoreRunning(ctx context.Context, client *admin.Client, out *output, name string, registrations bool) error {
	file, size, head, err := openBackup(name)
	if err != nil {
		return err
	}
	defer file.Close()
	bar := newProgress(out, 1)
	report, err := client.Restore(ctx, file, size, head, admin.RestoreCommit{Registrations: registrations}, func(done int64) { bar.bytes(done, size) })
	bar.end()
	if err != nil {
		return err
	}
	return out.object(report, func() {
		out.say("the cluster is as it was at %s", clock(head.Time))
		out.say("restored: %s", strings.Join(report.Restored, ", "))
		if len(report.Kept) > 0 {
			out.say("kept: %s", strings.Join(report.Kept, ", "))
		}
	})
}

// restored is what -o json shows of a restore into an empty directory.
type restored struct {
	Node    string             `json:"node"`
	DataDir string             `json:"data_dir"`
	Backup  cluster.BackupHead `json:"backup"`
}

func restoreEmpty(out *output, cfg configs.Config, name, key, flag string) error {
	file, size, head, err := openBackup(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := tandem.Restore(cfg, file, size, key, newLogger(out.notes, configs.Log{Level: "warn", Format: "text"}, new(slog.LevelVar))); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return out.object(restored{cfg.Node.Name, cfg.Node.DataDir, head}, func() {
		out.say("Node %s holds what was agreed on at %s. Start it:\n\n  TANDEM_NODE_NAME=%s TANDEM_NODE_DATA_DIR=%s tandem serve%s", cfg.Node.Name, clock(head.Time), cfg.Node.Name, cfg.Node.DataDir, flag)
	})
}
