package embedtemporal

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/temporalio/ui-server/v2/server/api"
	"github.com/temporalio/ui-server/v2/server/auth"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/cors"
	"github.com/temporalio/ui-server/v2/server/csrf"
	"github.com/temporalio/ui-server/v2/server/headers"
	"github.com/temporalio/ui-server/v2/server/route"
	"github.com/temporalio/ui-server/v2/ui"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const callerType = "Caller-Type"

// webUI serves Temporal's Web UI. The parts are ui-server's; we put them together ourselves because its own server ends
// the process when it cannot listen, and never closes its connection to Temporal.
type webUI struct {
	http *http.Server
	conn *grpc.ClientConn
	done chan struct{}
}

// startUI takes over the listener.
func startUI(listener net.Listener, temporalAddr, namespace string, log *slog.Logger) (*webUI, error) {
	const maxMessage = 64 << 20
	conn, err := grpc.NewClient(temporalAddr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, errors.Join(&ServerError{Msg: "connect the Web UI", Err: err}, listener.Close())
	}
	handler, err := uiHandler(conn, temporalAddr, namespace)
	if err != nil {
		return nil, errors.Join(&ServerError{Msg: "set up the Web UI", Err: err}, conn.Close(), listener.Close())
	}
	u := &webUI{
		conn: conn,
		done: make(chan struct{}),
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		defer close(u.done)
		if err := u.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("Temporal Web UI ended", "error", err)
		}
	}()
	return u, nil
}

func (u *webUI) stop() error {
	err := u.http.Close()
	<-u.done
	return errors.Join(err, u.conn.Close())
}

func uiHandler(conn *grpc.ClientConn, temporalAddr, namespace string) (http.Handler, error) {
	conf, err := uiconfig.NewConfigProviderWithRefresh(uiSettings{
		TemporalGRPCAddress: temporalAddr,
		DefaultNamespace:    namespace,
		EnableUI:            true,
		DisableNewsFetch:    true,
		HideLogs:            true,
		CORS:                uiconfig.CORS{CookieInsecure: true}, // loopback has no TLS
	})
	if err != nil {
		return nil, err
	}
	assets, err := ui.Assets()
	if err != nil {
		return nil, err
	}
	if assets, err = fs.Sub(assets, "local"); err != nil {
		return nil, err
	}
	e := echo.New()
	useMiddleware(e, conf)
	route.SetHealthRoute(e)
	setAPIRoutes(e, conf, conn)
	route.SetAuthRoutes(e, conf)
	if err := route.SetUIRoutes(e, "", assets, conf); err != nil {
		return nil, err
	}
	route.SetRenderRoute(e, "/")
	return e, nil
}

func useMiddleware(e *echo.Echo, conf *uiconfig.ConfigProviderWithRefresh) {
	const secureCookie = false
	e.Use(middleware.Recover(), middleware.Gzip())
	e.Use(cors.CORSMiddleware(cors.CORSConfig{
		AllowHeaders: []string{
			echo.HeaderOrigin, echo.HeaderContentType, echo.HeaderAccept, echo.HeaderXCSRFToken,
			echo.HeaderAuthorization, auth.AuthorizationExtrasHeader, callerType,
		},
		AllowCredentials: true,
		ConfigProvider:   conf,
	}))
	e.Use(middleware.Secure(), csrf.EnsureTokenCookie(secureCookie))
	e.Use(middleware.CSRFWithConfig(csrf.MiddlewareConfig(conf, secureCookie)))
}

// setAPIRoutes leaves out the look for newer releases, which asks the internet.
func setAPIRoutes(e *echo.Echo, conf *uiconfig.ConfigProviderWithRefresh, conn *grpc.ClientConn) {
	forward := []api.Middleware{headers.WithForwardHeaders([]string{auth.AuthorizationExtrasHeader, callerType})}
	group := e.Group("/api/v1")
	group.GET("/settings", api.GetSettings(conf))
	group.GET("/ui-extensions", api.GetUIExtensions(conf, api.TemporalAccessCheck(conn, forward)))
	group.GET(api.WorkflowRawHistoryUrl, api.WorkflowRawHistoryHandler(workflowservice.NewWorkflowServiceClient(conn)))
	group.Match([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, "/*", api.TemporalAPIHandler(conf, forward, conn))
}

// uiSettings is a fixed configuration.
type uiSettings uiconfig.Config

func (s uiSettings) GetConfig() (*uiconfig.Config, error) {
	conf := uiconfig.Config(s)
	return &conf, nil
}

// listenUI binds before anything else is started, so that a taken port is told apart from every other failure. Without a
// Web UI there is no listener.
func listenUI(ctx context.Context, opt *Options) (net.Listener, error) {
	if opt.NoUI {
		return nil, nil
	}
	address := addr(opt.Host, opt.UIPort)
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &PortError{Service: uiService, Addr: address, Err: err}
	}
	return listener, nil
}
