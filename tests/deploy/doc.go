// Package deploy checks what deploy/ offers: the systemd unit and the Kubernetes manifests, against the types of their systems
// and the flags of the real command, and the upgrade from an older build.
package deploy
