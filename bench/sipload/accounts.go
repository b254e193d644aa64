//go:build linux

package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"

	"tandem/bench/internal/phone"
)

// accounts writes the same accounts for both servers: passwords for Tandem's import, ready HA1 hashes for Kamailio's table.
func accounts(args []string) error {
	flags := flag.NewFlagSet("accounts", flag.ContinueOnError)
	users := flags.Int("users", 10000, "number of accounts")
	realm := flags.String("realm", "bench", "tenant of Tandem, realm of Kamailio")
	tandem := flags.String("tandem", "", "CSV file for tandem account import")
	kamailio := flags.String("kamailio", "", "db_text file for Kamailio's htable")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := write(*tandem, func(w *bufio.Writer) {
		fmt.Fprintln(w, "tenant,user,password")
		for i := range *users {
			fmt.Fprintf(w, "%s,%s,%s\n", *realm, phone.UserName(i), phone.Password(i))
		}
	}); err != nil {
		return err
	}
	return write(*kamailio, func(w *bufio.Writer) {
		fmt.Fprintln(w, "key_name(string) key_type(int) value_type(int) key_value(string) expires(int)")
		for i := range *users {
			name := phone.UserName(i)
			fmt.Fprintf(w, "%s:0:0:%s:0\n", name, phone.HA1(phone.MD5, name, *realm, phone.Password(i)))
		}
	})
}

func write(path string, fill func(*bufio.Writer)) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	fill(w)
	return errors.Join(w.Flush(), file.Close())
}
