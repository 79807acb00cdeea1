// A client with .NET's sockets, in the structure of "Using an Asynchronous Client Socket":
//
//     mono EofClient.exe async|sync PORT
//
// Unlike the document's, it signals its events on every path, so that a failure ends it.

using System;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;

static class EofClient
{
    class StateObject
    {
        public const int BufferSize = 256;
        public readonly byte[] Buffer = new byte[BufferSize];
        public readonly StringBuilder Text = new StringBuilder();
        public Socket WorkSocket;
    }

    static readonly ManualResetEvent connectDone = new ManualResetEvent(false);
    static readonly ManualResetEvent sendDone = new ManualResetEvent(false);
    static readonly ManualResetEvent receiveDone = new ManualResetEvent(false);
    static string response = "";
    static Exception failure;

    static int Main(string[] args)
    {
        var remote = new IPEndPoint(IPAddress.Loopback, int.Parse(args[1]));
        var client = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (args[0] == "async") Async(client, remote); else Sync(client, remote);
            if (failure != null) throw failure;
            Console.WriteLine("Response received : {0}", response);
            client.Close();
            return 0;
        }
        catch (Exception e)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    static void Async(Socket client, EndPoint remote)
    {
        client.BeginConnect(remote, Guarded(connectDone, ar =>
        {
            client.EndConnect(ar);
            Console.WriteLine("Socket connected to {0}", client.RemoteEndPoint);
        }), client);
        connectDone.WaitOne();
        if (failure != null) return;

        byte[] data = Encoding.ASCII.GetBytes("This is a test<EOF>");
        client.BeginSend(data, 0, data.Length, SocketFlags.None, Guarded(sendDone, ar =>
            Console.WriteLine("Sent {0} bytes to server.", client.EndSend(ar))), client);
        sendDone.WaitOne();
        if (failure != null) return;

        Receive(new StateObject { WorkSocket = client });
        receiveDone.WaitOne();
    }

    static void Receive(StateObject state)
    {
        state.WorkSocket.BeginReceive(
            state.Buffer, 0, StateObject.BufferSize, SocketFlags.None, ReceiveCallback, state);
    }

    static void ReceiveCallback(IAsyncResult ar)
    {
        var state = (StateObject)ar.AsyncState;
        try
        {
            int read = state.WorkSocket.EndReceive(ar);
            if (read > 0)
            {
                state.Text.Append(Encoding.ASCII.GetString(state.Buffer, 0, read));
                Receive(state);
                return;
            }
            response = state.Text.ToString();
        }
        catch (Exception e)
        {
            failure = e;
        }
        receiveDone.Set();
    }

    static AsyncCallback Guarded(ManualResetEvent done, Action<IAsyncResult> callback)
    {
        return ar =>
        {
            try { callback(ar); } catch (Exception e) { failure = e; }
            done.Set();
        };
    }

    static void Sync(Socket client, EndPoint remote)
    {
        client.Connect(remote);
        Console.WriteLine("Socket connected to {0}", client.RemoteEndPoint);
        int sent = client.Send(Encoding.ASCII.GetBytes("This is a test<EOF>"));
        Console.WriteLine("Sent {0} bytes to server.", sent);
        var buffer = new byte[StateObject.BufferSize];
        int read;
        while ((read = client.Receive(buffer)) > 0) response += Encoding.ASCII.GetString(buffer, 0, read);
    }
}
