package config

import (
	"os"
	"path/filepath"
	"time"
)

// DefaultNode is a node's configuration before file, environment and flags. The numbers are those that operators of
// dea_ng rely on.
func DefaultNode() Node {
	return Node{
		Logging: Logging{Level: "info", Format: "text"},
		Resources: Resources{
			MemoryMB:               8 * 1024,
			MemoryOvercommitFactor: 1,
			// dea_ng's own default is 16 TB, which no reservation ever meets.
			DiskMB:               16 * 1024,
			DiskOvercommitFactor: 1,
		},
		Staging: defaultStaging(),
		Instance: Instance{
			DiskInodeLimit:        200_000,
			MemoryToCPUShareRatio: 8,
			MaxCPUShareLimit:      256,
			MinCPUShareLimit:      1,
			NProc:                 512,
			LogRate:               1 << 20,
			LogBurst:              4 << 20,
		},
		// The original keeps no droplet for longer than it is used, and so fetches it again for each restart.
		Droplets: Droplets{MaxMB: 10 * 1024, MaxDropletMB: 4 * 1024, UnusedLifetime: time.Hour},
		Drains:   Drains{Max: 1000, MaxAge: time.Hour},
		Intervals: Intervals{
			Heartbeat:      10 * time.Second,
			Advertise:      5 * time.Second,
			RouterRegister: 20 * time.Second,
			DropletGC:      60 * time.Second,
			OrphanReap:     600 * time.Second,
		},
		Exec:                      Exec{MaxSessions: 64, IdleTimeout: 15 * time.Minute},
		Router:                    Router{Drain: 500 * time.Millisecond},
		PlacementProperties:       PlacementProperties{Zone: "default"},
		DirectoryServer:           DirectoryServer{Listen: "127.0.0.1:0", Protocol: "http"},
		CrashLifetime:             3600 * time.Second,
		CrashBlockUsageRatio:      0.8,
		CrashInodeUsageRatio:      0.8,
		OnStop:                    OnStopLeave,
		EvacuationBailOut:         600 * time.Second,
		DefaultHealthCheckTimeout: 60 * time.Second,
		LocalRoute:                "127.0.0.1",
		Runner:                    besideProgram("dea-runner"),
		NodeGrace:                 60 * time.Second,
		Temporal:                  defaultTemporal(),
	}
}

func defaultStaging() Staging {
	return Staging{
		Enabled:            true,
		MemoryLimitMB:      1024,
		DiskLimitMB:        2 * 1024,
		DiskInodeLimit:     200_000,
		CPULimitShares:     512,
		MaxStagingDuration: 900 * time.Second,
		CompletionTimeout:  15 * time.Minute,
		BuildpackLifetime:  time.Hour,
		LogLifetime:        time.Hour,
		Limits: StagingLimits{
			PackageMB: 2 * 1024, UnpackedMB: 4 * 1024, Entries: 500_000,
			BuildpackMB: 2 * 1024, BuildpackUnpackedMB: 8 * 1024, LogMB: 64,
		},
	}
}

// DefaultClient is a client's configuration before file, environment and flags.
func DefaultClient() Client { return Client{Temporal: defaultTemporal()} }

func defaultTemporal() Temporal {
	return Temporal{Address: "127.0.0.1:7233", Namespace: "default"}
}

// besideProgram is a program in the directory of the running one; empty when that cannot be found out.
func besideProgram(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), name)
}
